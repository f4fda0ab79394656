// SPDX-License-Identifier: Apache-2.0
// JPEG by libjpeg(-turbo): baseline, progressive, arithmetic; gray, YCbCr, RGB, CMYK, YCCK.
// Settings are libjpeg's defaults (accurate integer DCT, smooth chroma upsampling), which are
// Pillow's too, so pixels are equal. DCT scaling is not used: it changes the picture.
//
// libjpeg reports through callbacks and leaves by longjmp. What it calls damage but could paint
// over (missing rows, a broken code) ends the picture here. Its sentences go nowhere.
#include "host/media/read.h"

#include <setjmp.h>
#include <stdio.h> // jpeglib.h needs it

#include <jpeglib.h>

#include <jerror.h>

#include "base/check.h"
#include "base/num.h"
#include "host/media/media_buffer.h"

// Ordinary progressive files have about 10 scans. Each costs a pass over all coefficients of its
// components, so that a small file with many empty scans would keep a thread for minutes. A picture
// at the limit of pixels without subsampling needs 1.4 G of such visits for libjpeg's own script.
enum { SCANS_MAX = 200, VISITS_MAX = 2000000000 };

typedef struct JpegReader {
    struct jpeg_decompress_struct codec;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    const RowSink *sink;
    uint64_t visits; // to coefficients, so far
    bool has_rows;   // all of them: what follows is no part of the picture
    jmp_buf on_error;
    Error *error;
    Status status;
} JpegReader;

_Noreturn static void fail(JpegReader *reader, Status status, const char *sentence) {
    reader->status = error_set(reader->error, status, "%s", sentence);
    longjmp(reader->on_error, 1);
}

static void on_error_exit(j_common_ptr codec) {
    switch (codec->err->msg_code) {
    case JERR_OUT_OF_MEMORY:
        fail(codec->client_data, E_MEMORY,
             "no memory is left to decode the JPEG; try again later or send a smaller picture");
    case JERR_SOF_UNSUPPORTED:
    case JERR_BAD_PRECISION:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
    case JERR_NOT_COMPILED:
    case JERR_ARITH_NOTIMPL:
        fail(codec->client_data, E_UNSUPPORTED,
             "the JPEG is of a kind that is not decoded here; save it as an ordinary JPEG or PNG");
    default:
        fail(codec->client_data, E_IMAGE_DAMAGED,
             "the JPEG is damaged; save it again or fetch it anew");
    }
}

// Level -1 is a warning: the data are wrong and libjpeg would go on with a guess. Those that touch
// no pixel are let through, because such files are common and every viewer shows them whole.
static void on_message(j_common_ptr codec, int level) {
    const JpegReader *reader = codec->client_data;
    if (level >= 0 || reader->has_rows) {
        return;
    }
    switch (codec->err->msg_code) {
    case JWRN_EXTRANEOUS_DATA: // bytes between segments
    case JWRN_ADOBE_XFORM:
    case JWRN_JFIF_MAJOR:
    case JWRN_NOT_SEQUENTIAL:
    case JWRN_TOO_MUCH_DATA:
#ifdef JWRN_BOGUS_ICC
    case JWRN_BOGUS_ICC:
#endif
        return;
    default:
        on_error_exit(codec);
    }
}

static void ignore_text(j_common_ptr codec) {
    (void)codec;
}

// The whole file is in memory, so a request for more means that it was cut. Behind the last row
// that is no damage: cameras leave out the end marker, phones write trailers there.
static boolean on_more_input(j_decompress_ptr codec) {
    JpegReader *reader = codec->client_data;
    if (reader->has_rows) {
        longjmp(reader->on_error, 1);
    }
    fail(reader, E_IMAGE_DAMAGED, "the JPEG file ends before its last row; fetch it anew");
}

static void skip_input(j_decompress_ptr codec, long count) {
    if (count > 0 && (size_t)count > codec->src->bytes_in_buffer) {
        on_more_input(codec);
    }
    if (count > 0) {
        codec->src->next_input_byte += count;
        codec->src->bytes_in_buffer -= (size_t)count;
    }
}

static void ignore_source(j_decompress_ptr codec) {
    (void)codec;
}

// Coefficients in a row of the scan that is being read. A scan that brings only some of each block
// is counted as if it brought all: it goes to every block.
static uint64_t row_visits(const struct jpeg_decompress_struct *codec) {
    uint64_t blocks = 0;
    for (int i = 0; i < codec->comps_in_scan; i++) {
        const jpeg_component_info *component = codec->cur_comp_info[i];
        blocks += (uint64_t)component->width_in_blocks * (uint64_t)component->v_samp_factor;
    }
    return blocks * DCTSIZE2;
}

// libjpeg calls it before every row of every scan, and then before the rows of the picture.
static void on_progress(j_common_ptr codec) {
    JpegReader *reader = codec->client_data;
    if (read_unwanted(reader->sink)) {
        reader->status = read_cancelled(reader->error);
        longjmp(reader->on_error, 1);
    }
    if (reader->codec.output_scanline > 0) {
        return;
    }
    reader->visits += row_visits(&reader->codec);
    if (reader->codec.input_scan_number > SCANS_MAX) {
        fail(reader, E_IMAGE_DAMAGED, "the JPEG has more than 200 scans; save it again");
    }
    if (reader->visits > VISITS_MAX) {
        fail(reader, E_IMAGE_TOO_LARGE,
             "the scans of the JPEG go over more than 2000 million coefficients in all; save it "
             "with fewer scans or fewer pixels");
    }
}

static void open_reader(JpegReader *reader, Bytes file, const RowSink *sink, Error *error) {
    *reader = (JpegReader){.sink = sink, .error = error};
    reader->codec.err = jpeg_std_error(&reader->errors);
    reader->codec.client_data = reader;
    reader->errors.error_exit = on_error_exit;
    reader->errors.emit_message = on_message;
    reader->errors.output_message = ignore_text;
    reader->source = (struct jpeg_source_mgr){.next_input_byte = file.data,
                                              .bytes_in_buffer = file.length,
                                              .init_source = ignore_source,
                                              .fill_input_buffer = on_more_input,
                                              .skip_input_data = skip_input,
                                              .resync_to_restart = jpeg_resync_to_restart,
                                              .term_source = ignore_source};
    reader->progress.progress_monitor = on_progress;
}

// round(a b / 255) for bytes, as Pillow computes it.
static uint32_t multiply_255(uint32_t a, uint32_t b) {
    uint32_t t = a * b + 128;
    return (t + (t >> 8)) >> 8;
}

// CMYK to RGB in place, as Pillow does it: the file is taken to follow Adobe's habit of storing
// inverted values (255 is no ink), whether it says so or not; then red = white of K - C white of K.
static void cmyk_to_rgb(uint8_t *row, uint32_t width) {
    for (size_t x = 0; x < width; x++) {
        uint32_t white = row[x * 4 + 3];
        for (size_t c = 0; c < 3; c++) {
            row[x * 3 + c] = (uint8_t)(white - multiply_255(255u - row[x * 4 + c], white));
        }
    }
}

// Everything that may end in `fail`. The reader belongs to the caller and no local is read after
// the jump, so nothing is lost by it.
static void decode(JpegReader *reader, const ImageInfo *info, uint8_t *work, RowSink *sink) {
    if (setjmp(reader->on_error) != 0) {
        return;
    }
    struct jpeg_decompress_struct *codec = &reader->codec;
    jpeg_create_decompress(codec);
    codec->src = &reader->source;
    codec->progress = &reader->progress;
    jpeg_read_header(codec, TRUE);
    if (codec->image_width != info->stored_width || codec->image_height != info->stored_height) {
        fail(reader, E_IMAGE_DAMAGED,
             "the JPEG has two frame headers that disagree; save it again");
    }
    bool cmyk = codec->num_components == 4;
    codec->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(codec);
    REQUIRE(codec->output_components == (cmyk ? 4 : 3));

    size_t stride = (size_t)info->stored_width * (cmyk ? 4 : 3);
    while (codec->output_scanline < codec->output_height) {
        uint32_t first = codec->output_scanline;
        uint32_t count = (uint32_t)num_min(READ_STRIP_ROWS, codec->output_height - first);
        while (codec->output_scanline < first + count) {
            uint32_t done = codec->output_scanline - first;
            JSAMPROW rows[READ_STRIP_ROWS];
            for (uint32_t i = done; i < count; i++) {
                rows[i - done] = work + i * stride;
            }
            jpeg_read_scanlines(codec, rows, count - done);
        }
        for (uint32_t i = 0; cmyk && i < count; i++) {
            cmyk_to_rgb(work + i * stride, info->stored_width);
        }
        sink->push(sink, work, stride, first, count);
    }
    reader->has_rows = true;
    jpeg_finish_decompress(codec); // reads on to the end marker; broken segments there are damage
}

Status read_jpeg(Bytes file, const ImageInfo *info, MediaBuffer *work, RowSink *sink,
                 Error *error) {
    TRY(media_buffer_reserve(work, (uint64_t)info->stored_width * 4 * READ_STRIP_ROWS, error));
    JpegReader reader;
    open_reader(&reader, file, sink, error);
    decode(&reader, info, work->data, sink);
    jpeg_destroy_decompress(&reader.codec);
    return reader.status;
}
