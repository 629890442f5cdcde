/*
 * fault.h - make the n-th call of the puppets fail: of templates serving
 * requests, of PID 1 and the trees they build, of programs in live processes.
 *
 * The number is lent to an arena or a request, the puppet counts it down, and
 * what is left comes back with the reply or the end of the arena. A keeper may
 * also be started with MULLIGAN_FAULT_PUPPET=n, see sys/fault.h. The error is EIO.
 */
#pragma once

#include <stdint.h>

/* Let the n-th call from now on fail, once; 0: none. */
void puppet_fault_arm(uint32_t n);

/* Arm what MULLIGAN_FAULT_PUPPET says, if there is one. */
void puppet_fault_from_environment(void);

/* Calls until then; 0: none is armed, or it has failed. */
uint32_t puppet_fault_left(void);

/* Take the number for one arena or request, and bring back what is left. */
uint32_t puppet_fault_lend(void);
void puppet_fault_return(uint32_t left);
