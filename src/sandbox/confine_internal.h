/* confine_internal.h - the lists that the filter is made of. */
#pragma once

#include <stddef.h>

#include "sandbox/confine.h"

/* Call numbers as libseccomp spells them. */
extern const int confine_allowed[];
extern const size_t confine_n_allowed;
extern const int confine_refused[]; /* EPERM */
extern const size_t confine_n_refused;
