/*
 * image.h - the program mulligan-init, carried as bytes.
 *
 * The keeper writes them into a memfd; PID 1 of a new incarnation executes it
 * (execveat with AT_EMPTY_PATH) as its last act as a puppet, with the control
 * socket and the confinement blob at the numbers of proto.h.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

extern const uint8_t init_image[];
extern const uint64_t init_image_len;
