// SPDX-License-Identifier: Apache-2.0
// The weights as the device has them: the same struct, every pointer device memory. The backend
// owns what it placed and frees it when it closes; the cpu backend places nothing. What is placed
// is what the manifest lists (weights/manifest.h).
#ifndef MODEL_WEIGHTS_ON_DEVICE_H
#define MODEL_WEIGHTS_ON_DEVICE_H

#include "model/ops.h"

// `out` has the host's scalars and the device's pointers. Never pass it to weights_close.
Status weights_on_device(const Weights *host, const Backend *backend, Weights *out);

#endif
