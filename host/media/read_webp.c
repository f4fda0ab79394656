// SPDX-License-Identifier: Apache-2.0
// WebP by libwebp: lossy, lossless, with transparency (dropped, as for PNG). Of an animation the
// first frame is taken; what it leaves of the canvas is black, as in Pillow.
#include "host/media/read.h"

#include <string.h>

#include <webp/decode.h>

#include "base/check.h"
#include "base/num.h"
#include "host/media/media_buffer.h"
#include "host/media/probe.h"

static Status status_of_code(VP8StatusCode code, Error *error) {
    switch (code) {
    case VP8_STATUS_OK:
        return OK;
    case VP8_STATUS_OUT_OF_MEMORY:
        return error_set(error, E_MEMORY,
                         "no memory is left to decode the WebP; try again later or send a smaller "
                         "picture");
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
        return error_set(error, E_IMAGE_DAMAGED,
                         "the WebP file ends before its last row; fetch it anew");
    case VP8_STATUS_UNSUPPORTED_FEATURE:
        return error_set(
            error, E_UNSUPPORTED,
            "the WebP is of a kind that is not decoded here; save it as an ordinary WebP or "
            "PNG");
    default:
        return error_set(error, E_IMAGE_DAMAGED,
                         "the WebP is damaged; save it again or fetch it anew");
    }
}

Status read_webp(Bytes file, const ImageInfo *info, MediaBuffer *work, RowSink *sink,
                 Error *error) {
    WebpFrame frame;
    TRY(probe_webp_frame(file, &frame, error));
    WebPDecoderConfig config;
    REQUIRE(WebPInitDecoderConfig(&config)); // false only if built against another libwebp
    TRY(status_of_code(WebPGetFeatures(frame.data.data, frame.data.length, &config.input), error));
    uint32_t width = (uint32_t)config.input.width, height = (uint32_t)config.input.height;
    if (!num_in_range(frame.x, width, info->stored_width) ||
        !num_in_range(frame.y, height, info->stored_height)) {
        return error_set(error, E_IMAGE_DAMAGED,
                         "the WebP has a frame of %u x %u at (%u, %u), outside its canvas of %u x "
                         "%u; save it again",
                         width, height, frame.x, frame.y, info->stored_width, info->stored_height);
    }

    size_t stride = (size_t)info->stored_width * 3;
    size_t bytes = stride * info->stored_height;
    TRY(media_buffer_reserve(work, bytes, error));
    if (width != info->stored_width || height != info->stored_height) {
        memset(work->data, 0, bytes);
    }
    size_t offset = frame.y * stride + (size_t)frame.x * 3;
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = work->data + offset;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = bytes - offset;
    VP8StatusCode code = WebPDecode(frame.data.data, frame.data.length, &config);
    WebPFreeDecBuffer(&config.output);
    TRY(status_of_code(code, error));
    sink->push(sink, work->data, stride, 0, info->stored_height);
    return OK;
}
