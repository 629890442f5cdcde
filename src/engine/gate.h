/*
 * gate.h - let a parked tree go, those first that stop again at once.
 *
 * By the time any process runs code of its own, every stopped one has stopped
 * and its parent has been told, as far as it is to be told: parts/stops.h.
 */
#pragma once

#include "base/err.h"
#include "engine/incarnation.h"

/*
 * Open the gate for all. -ETIMEDOUT: a process that should stop does not (it
 * was frozen from outside): it is open for the levels before alone.
 */
must_check int gate_open(struct incarnation *in, struct err *e);
