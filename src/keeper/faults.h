/* faults.h - tests: when the faults of the environment begin. */
#pragma once

/*
 * A request of that method is about to be served. Where it is the first one of
 * MULLIGAN_FAULT_WHEN, MULLIGAN_FAULT, MULLIGAN_FAULT_PUPPET,
 * MULLIGAN_KILL_AT and MULLIGAN_STOP_AT take effect.
 */
void faults_begin(const char *method);
