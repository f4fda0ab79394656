// SPDX-License-Identifier: Apache-2.0
// WebP in a process of its own (child.h): libwebp decodes a frame in one go and looks at nothing
// meanwhile. Of an animation the first frame is taken; what it leaves of the canvas is black, as in
// Pillow. The container is read here, the frame there.
#include "host/media/read.h"

#include "base/check.h"
#include "host/media/child.h"
#include "host/media/probe.h"

static Status status_of_answer(const DecoderCall *call, const DecoderAnswer *answer, Error *error) {
    switch ((DecoderFault)answer->fault) {
    case DECODER_DONE:
        return OK;
    case DECODER_NO_MEMORY:
        return error_set(error, E_MEMORY,
                         "no memory is left to decode the WebP; try again later or send a smaller "
                         "picture");
    case DECODER_CUT:
        return error_set(error, E_IMAGE_DAMAGED,
                         "the WebP file ends before its last row; fetch it anew");
    case DECODER_UNSUPPORTED:
        return error_set(
            error, E_UNSUPPORTED,
            "the WebP is of a kind that is not decoded here; save it as an ordinary WebP or "
            "PNG");
    case DECODER_OUTSIDE:
        return error_set(error, E_IMAGE_DAMAGED,
                         "the WebP has a frame of %u x %u at (%u, %u), outside its canvas of %u x "
                         "%u; save it again",
                         answer->width, answer->height, call->x, call->y, call->width,
                         call->height);
    case DECODER_DAMAGED:
    case DECODER_FAULTS:
        break;
    }
    return error_set(error, E_IMAGE_DAMAGED, "the WebP is damaged; save it again or fetch it anew");
}

Status read_webp(Bytes file, const ImageInfo *info, struct MediaChild **child, RowSink *sink,
                 Error *error) {
    WebpFrame frame;
    TRY(probe_webp_frame(file, &frame, error));
    ChildTask task = {
        .call = {.codec = DECODER_WEBP,
                 .width = info->stored_width,
                 .height = info->stored_height,
                 .x = frame.x,
                 .y = frame.y},
        .input = frame.data,
        .limits = child_limits((uint64_t)info->stored_width * info->stored_height),
        .unwanted = sink->unwanted,
    };
    DecoderAnswer answer;
    const uint8_t *pixels;
    TRY(child_decode(child, &task, &answer, &pixels, error));
    TRY(status_of_answer(&task.call, &answer, error));
    sink->push(sink, pixels, (size_t)info->stored_width * 3, 0, info->stored_height);
    return OK;
}
