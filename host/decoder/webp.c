// SPDX-License-Identifier: Apache-2.0
#include "host/decoder/webp.h"

#include <string.h>

#include <webp/decode.h>

#include "base/check.h"

static DecoderFault fault_of_code(VP8StatusCode code) {
    switch (code) {
    case VP8_STATUS_OK:
        return DECODER_DONE;
    case VP8_STATUS_OUT_OF_MEMORY:
        return DECODER_NO_MEMORY;
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
        return DECODER_CUT;
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return DECODER_UNSUPPORTED;
    default:
        return DECODER_DAMAGED;
    }
}

DecoderAnswer webp_decode(const DecoderCall *call, Bytes input, uint8_t *pixels) {
    WebPDecoderConfig config;
    bool same_library = WebPInitDecoderConfig(&config); // as the one that this was built against
    REQUIRE(same_library);
    VP8StatusCode code = WebPGetFeatures(input.data, input.length, &config.input);
    if (code != VP8_STATUS_OK) {
        return (DecoderAnswer){.fault = fault_of_code(code)};
    }
    DecoderAnswer answer = {.width = (uint32_t)config.input.width,
                            .height = (uint32_t)config.input.height};
    if (!num_in_range(call->x, answer.width, call->width) ||
        !num_in_range(call->y, answer.height, call->height)) {
        answer.fault = DECODER_OUTSIDE;
        return answer;
    }
    size_t stride = (size_t)call->width * 3;
    size_t bytes = stride * call->height;
    if (answer.width != call->width || answer.height != call->height) {
        memset(pixels, 0, bytes);
    }
    size_t offset = call->y * stride + (size_t)call->x * 3;
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = pixels + offset;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = bytes - offset;
    answer.fault = fault_of_code(WebPDecode(input.data, input.length, &config));
    WebPFreeDecBuffer(&config.output);
    return answer;
}
