// SPDX-License-Identifier: Apache-2.0
// WebP by libwebp: lossy, lossless, with transparency (dropped, as for PNG).
#ifndef HOST_DECODER_WEBP_H
#define HOST_DECODER_WEBP_H

#include "base/bytes.h"
#include "host/decoder/call.h"

// Decodes the frame in `input` to its place among the canvas's pixels.
DecoderAnswer webp_decode(const DecoderCall *call, Bytes input, uint8_t *pixels);

#endif
