// SPDX-License-Identifier: Apache-2.0
// Container walks. Every one of them is a loop over (length, name) records with one bounds check
// per record; a record that leaves the file ends the walk as damage.
//   JPEG: markers FF xx with a 2-byte length, up to the start of scan (ITU T.81 annex B)
//   PNG:  8-byte signature, then length, name, data, CRC (PNG specification, section 5)
//   WebP: RIFF, then chunks of name, little-endian length, data, padding (WebP container)
#include "host/media/probe.h"

#include <string.h>

#include "base/check.h"
#include "base/num.h"
#include "host/media/exif.h"
#include "host/media/fields.h"
#include "host/media/look.h"
#include "host/media/png_chunks.h"

// What the file says in EXIF goes before what it says in XMP.
typedef struct Orientation {
    uint32_t exif, xmp;
    bool has_exif, has_xmp; // blocks were met
} Orientation;

static uint32_t orientation_value(const Orientation *orientation) {
    uint32_t value = orientation->exif != 0 ? orientation->exif : orientation->xmp;
    return value >= 1 && value <= 8 ? value : 1;
}

static Status jpeg_cut(const char *what, Error *error) {
    return error_set(error, E_IMAGE_DAMAGED, "the JPEG file ends inside %s; fetch it anew", what);
}

static Status probe_jpeg_frame(Bytes body, ImageInfo *info, Error *error) {
    if (body.length < 6) {
        return jpeg_cut("its frame header", error);
    }
    if (body.data[0] != 8) {
        return error_set(error, E_UNSUPPORTED, "the JPEG has %u bits per sample; save it with 8",
                         body.data[0]);
    }
    info->stored_height = field_big_u16(body.data + 1);
    info->stored_width = field_big_u16(body.data + 3);
    uint32_t components = body.data[5];
    if (components != 1 && components != 3 && components != 4) {
        return error_set(error, E_UNSUPPORTED,
                         "the JPEG has %u colour components; save it with 1, 3 or 4", components);
    }
    return OK;
}

static Status probe_jpeg(Bytes file, ImageInfo *info, Error *error) {
    static const char exif_name[] = "Exif\0";
    static const char xmp_name[] = "http://ns.adobe.com/xap/1.0/";
    Orientation orientation = {0};
    size_t at = 2;
    for (;;) {
        size_t begin = at;
        size_t end = begin + num_min(file.length - begin, MEDIA_HEADER_BYTES_MAX);
        while (at < end && file.data[at] != 0xFF) {
            at++; // bytes between segments are skipped, as libjpeg does
        }
        while (at < end && file.data[at] == 0xFF) {
            at++;
        }
        TRY(look_count(info, at - begin + 3, error));
        if (at >= file.length) {
            return jpeg_cut("its headers", error);
        }
        uint8_t marker = file.data[at++];
        if (marker == 0 || marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8)) {
            continue; // these have no length
        }
        if (marker == 0xDA || marker == 0xD9) {
            break; // start of scan, or an end of image too early
        }
        if (!num_in_range(at, 2, file.length) || field_big_u16(file.data + at) < 2 ||
            !num_in_range(at, field_big_u16(file.data + at), file.length)) {
            return jpeg_cut("its headers", error);
        }
        Bytes body = field_slice(file, at + 2, field_big_u16(file.data + at) - 2);
        at += 2 + body.length;
        if (marker == 0xE1) {
            TRY(look_count(info, body.length, error));
        }
        if (marker == 0xE1 && field_starts_with(body, exif_name, 6)) {
            // Pillow appends later blocks to the first, whose directory is the one that counts.
            orientation.exif = orientation.has_exif ? orientation.exif : exif_orientation(body);
            orientation.has_exif = true;
        } else if (marker == 0xE1 && field_starts_with(body, xmp_name, sizeof xmp_name)) {
            orientation.xmp = exif_orientation_xmp(body);
        } else if (marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 &&
                   marker != 0xCC && info->stored_width == 0) {
            TRY(probe_jpeg_frame(body, info, error));
        }
    }
    info->orientation = orientation_value(&orientation);
    return OK;
}

static Status probe_png(Bytes file, ImageInfo *info, Error *error) {
    PngLayout layout;
    TRY(png_layout(file, info, &layout, error));
    info->stored_width = layout.width;
    info->stored_height = layout.height;
    info->orientation = orientation_value(&(Orientation){.exif = exif_orientation(layout.exif),
                                                         .xmp = exif_orientation_xmp(layout.xmp)});
    return OK;
}

typedef struct WebpChunks {
    Bytes data; // of the RIFF body after "WEBP", or of an ANMF chunk after its header
    size_t at;
} WebpChunks;

// The next chunk, or false at the end. A chunk that leaves the data sets *damaged.
static bool webp_next(WebpChunks *chunks, const uint8_t **name, Bytes *body, bool *damaged) {
    if (chunks->at >= chunks->data.length) {
        return false;
    }
    if (!num_in_range(chunks->at, 8, chunks->data.length) ||
        !num_in_range(chunks->at + 8, field_little_u32(chunks->data.data + chunks->at + 4),
                      chunks->data.length)) {
        *damaged = true;
        return false;
    }
    *name = chunks->data.data + chunks->at;
    *body = field_slice(chunks->data, chunks->at + 8, field_little_u32(*name + 4));
    chunks->at += 8 + body->length + (body->length & 1);
    return true;
}

static Status webp_damaged(const char *what, Error *error) {
    return error_set(error, E_IMAGE_DAMAGED, "the WebP file %s; save it again or fetch it anew",
                     what);
}

// The chunks of a WebP file after checking its RIFF header against the length of the file.
static Status webp_open(Bytes file, WebpChunks *chunks, Error *error) {
    if (file.length < 12) {
        return webp_damaged("ends inside its RIFF header", error);
    }
    uint64_t declared = field_little_u32(file.data + 4);
    if (declared < 4 || !num_in_range(8, declared, file.length)) {
        return webp_damaged("is shorter than its RIFF header says", error);
    }
    *chunks = (WebpChunks){.data = field_slice(file, 12, declared - 4)};
    return OK;
}

// Sizes as the two bitstreams store them: VP8 after a 3-byte frame tag and a start code (RFC 6386,
// 9.1), VP8L as 14 bits each after a signature byte.
static bool webp_bitstream_size(const uint8_t *name, Bytes body, ImageInfo *info) {
    if (memcmp(name, "VP8 ", 4) == 0 && body.length >= 10) {
        info->stored_width = field_little_u16(body.data + 6) & 0x3FFF;
        info->stored_height = field_little_u16(body.data + 8) & 0x3FFF;
        return true;
    }
    if (memcmp(name, "VP8L", 4) == 0 && body.length >= 5) {
        uint32_t bits = field_little_u32(body.data + 1);
        info->stored_width = (bits & 0x3FFF) + 1;
        info->stored_height = (bits >> 14 & 0x3FFF) + 1;
        return true;
    }
    return false;
}

static Status probe_webp(Bytes file, ImageInfo *info, Error *error) {
    WebpChunks chunks;
    TRY(webp_open(file, &chunks, error));
    Orientation orientation = {0};
    enum { FLAG_XMP = 4, FLAG_EXIF = 8 }; // of VP8X; without them libwebp hides the chunks
    uint8_t flags = 0;
    bool damaged = false, extended = false, has_picture = false;
    const uint8_t *name;
    Bytes body;
    while (webp_next(&chunks, &name, &body, &damaged)) {
        bool metadata = memcmp(name, "EXIF", 4) == 0 || memcmp(name, "XMP ", 4) == 0;
        TRY(look_count(info, 8 + (metadata ? body.length : 0), error));
        if (name == chunks.data.data && memcmp(name, "VP8X", 4) == 0 && body.length >= 10) {
            extended = true; // only as the first chunk
            flags = body.data[0];
            info->stored_width = field_little_u24(body.data + 4) + 1;
            info->stored_height = field_little_u24(body.data + 7) + 1;
        } else if (memcmp(name, "ANMF", 4) == 0) {
            has_picture = true;
        } else if (memcmp(name, "VP8 ", 4) == 0 || memcmp(name, "VP8L", 4) == 0) {
            if (!extended && !has_picture && !webp_bitstream_size(name, body, info)) {
                return webp_damaged("ends inside its frame header", error);
            }
            has_picture = true;
        } else if (memcmp(name, "EXIF", 4) == 0 && (flags & FLAG_EXIF) != 0 &&
                   !orientation.has_exif) {
            orientation.exif = exif_orientation(body);
            orientation.has_exif = true;
        } else if (memcmp(name, "XMP ", 4) == 0 && (flags & FLAG_XMP) != 0 &&
                   !orientation.has_xmp) {
            orientation.xmp = exif_orientation_xmp(body);
            orientation.has_xmp = true;
        }
    }
    if (damaged) {
        return webp_damaged("has a chunk that is longer than the file", error);
    }
    if (!has_picture) {
        return webp_damaged("holds no picture", error);
    }
    info->orientation = orientation_value(&orientation);
    return OK;
}

Status probe_webp_frame(Bytes file, WebpFrame *frame, Error *error) {
    WebpChunks chunks;
    TRY(webp_open(file, &chunks, error));
    *frame = (WebpFrame){.data = field_slice(file, 0, chunks.data.length + 12)};
    if (!field_starts_with(chunks.data, "VP8X", 4)) {
        return OK;
    }
    bool damaged = false;
    const uint8_t *name;
    Bytes body;
    while (webp_next(&chunks, &name, &body, &damaged)) {
        if (memcmp(name, "ANMF", 4) != 0) {
            continue;
        }
        // Frame header: x/2, y/2, width-1, height-1, duration (24 bits each), flags.
        enum { FRAME_HEADER_BYTES = 16 };
        if (body.length < FRAME_HEADER_BYTES) {
            break;
        }
        frame->x = field_little_u24(body.data) * 2;
        frame->y = field_little_u24(body.data + 3) * 2;
        WebpChunks inside = {
            .data = field_slice(body, FRAME_HEADER_BYTES, body.length - FRAME_HEADER_BYTES)};
        while (webp_next(&inside, &name, &body, &damaged)) {
            // The colours are in these chunks alone; the transparency before them is not used.
            if (memcmp(name, "VP8 ", 4) == 0 || memcmp(name, "VP8L", 4) == 0) {
                frame->data = body;
                return OK;
            }
        }
        break;
    }
    if (frame->x == 0 && frame->y == 0 && !damaged && chunks.at >= chunks.data.length) {
        return OK;
    }
    return webp_damaged("has a first frame without a picture", error);
}

// For the error text only.
static const char *looks_like(Bytes file) {
    static const struct {
        const char *magic;
        uint8_t length, offset;
        const char *name;
    } kinds[] = {
        {"GIF8", 4, 0, "a GIF"},
        {"BM", 2, 0, "a BMP"},
        {"II*\0", 4, 0, "a TIFF"},
        {"MM\0*", 4, 0, "a TIFF"},
        {"ftyp", 4, 4, "HEIC or AVIF"},
        {"%PDF", 4, 0, "a PDF"},
        {"<svg", 4, 0, "an SVG"},
        {"\xFF\x0A", 2, 0, "a JPEG XL"},
        {"\0\0\0\x0CJXL", 7, 0, "a JPEG XL"},
        {"PK\x03\x04", 4, 0, "a ZIP archive"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (num_in_range(kinds[i].offset, kinds[i].length, file.length) &&
            memcmp(file.data + kinds[i].offset, kinds[i].magic, kinds[i].length) == 0) {
            return kinds[i].name;
        }
    }
    size_t printable = 0, looked_at = num_min(file.length, 64);
    for (size_t i = 0; i < looked_at; i++) {
        uint8_t byte = file.data[i];
        printable += byte >= 0x20 || byte == '\t' || byte == '\n' || byte == '\r';
    }
    if (file.length == 0) {
        return "an empty file";
    }
    return printable == looked_at && looked_at >= 8 ? "text" : "something else";
}

const char *probe_format_name(ImageFormat format) {
    static const char *const names[] = {"JPEG", "PNG", "WebP"};
    REQUIRE((size_t)format < sizeof names / sizeof names[0]);
    return names[format];
}

Status probe_file(Bytes file, ImageInfo *info, Error *error) {
    *info = (ImageInfo){0};
    if (field_starts_with(file, "\xFF\xD8\xFF", 3)) {
        info->format = IMAGE_JPEG;
        TRY(probe_jpeg(file, info, error));
    } else if (png_signed(file)) {
        info->format = IMAGE_PNG;
        TRY(probe_png(file, info, error));
    } else if (field_starts_with(file, "RIFF", 4) && num_in_range(8, 4, file.length) &&
               memcmp(file.data + 8, "WEBP", 4) == 0) {
        info->format = IMAGE_WEBP;
        TRY(probe_webp(file, info, error));
    } else {
        return error_set(
            error, E_IMAGE_FORMAT,
            "the file is no JPEG, PNG or WebP picture by its first bytes and looks like "
            "%s; convert it",
            looks_like(file));
    }
    if (info->stored_width == 0 || info->stored_height == 0) {
        return error_set(error, E_IMAGE_DAMAGED,
                         "the %s file declares no size (%u x %u); save it again",
                         probe_format_name(info->format), info->stored_width, info->stored_height);
    }
    bool turned = info->orientation >= 5;
    info->width = turned ? info->stored_height : info->stored_width;
    info->height = turned ? info->stored_width : info->stored_height;
    return OK;
}
