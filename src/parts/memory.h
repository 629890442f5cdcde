/* memory.h - which mappings live in templates. */
#pragma once

#include "parts/part.h"

/* Private memory: staged in templates and moved into place. */
bool memory_is_staged(const struct image_vma *v);
