/*
 * stack.h - layers for tests of overlayfs: directories t_tmpdir()/layerN/ with
 * fs and work in each, N from 0 on.
 */
#pragma once

#include "kernel/facts.h"

/* Path of part ("fs", "fs/etc") of layer n, in out. */
const char *stack_layer_path(char *out, size_t len, int n, const char *part);
void stack_layer_make(int n);

/* A file's whole text. */
void stack_write(const char *path, const char *text);
bool stack_says(const char *path, const char *text);

/*
 * A detached overlay as mulligan makes them: upper = layer top, below it
 * n_lowers layers from number newest down, and base below all unless NULL.
 * -1 and errno when refused.
 */
int stack_overlay(int top, int newest, int n_lowers, const char *base);
