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

static const uint8_t png_signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};

static uint32_t big_u16(const uint8_t *p) {
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t big_u32(const uint8_t *p) {
    return big_u16(p) << 16 | big_u16(p + 2);
}

static uint32_t little_u16(const uint8_t *p) {
    return (uint32_t)p[1] << 8 | p[0];
}

static uint32_t little_u24(const uint8_t *p) {
    return (uint32_t)p[2] << 16 | little_u16(p);
}

static uint32_t little_u32(const uint8_t *p) {
    return little_u16(p + 2) << 16 | little_u16(p);
}

static bool starts_with(Bytes bytes, const void *prefix, size_t length) {
    return bytes.length >= length && memcmp(bytes.data, prefix, length) == 0;
}

static Bytes slice(Bytes bytes, size_t offset, size_t length) {
    REQUIRE(num_in_range(offset, length, bytes.length));
    return (Bytes){bytes.data + offset, length};
}

// What the file says in EXIF goes before what it says in XMP.
typedef struct Orientation {
    uint32_t exif, xmp;
} Orientation;

static uint32_t orientation_value(const Orientation *orientation) {
    uint32_t value = orientation->exif != 0 ? orientation->exif : orientation->xmp;
    return value >= 1 && value <= 8 ? value : 1;
}

// Every byte that a walk reads is counted, so that no file makes a walk longer than it is, or than
// MEDIA_HEADER_BYTES_MAX.
static Status probe_look(ImageInfo *info, uint64_t bytes, Error *error) {
    info->looked_at += bytes;
    if (info->looked_at > MEDIA_HEADER_BYTES_MAX) {
        return error_set(
            error, E_IMAGE_TOO_LARGE,
            "the picture file has more than %d bytes of headers; save it again without "
            "its metadata",
            MEDIA_HEADER_BYTES_MAX);
    }
    return OK;
}

static Status jpeg_cut(const char *what, Error *error) {
    return error_set(error, E_IMAGE_DAMAGED, "The JPEG file ends inside %s.", what);
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
        TRY(probe_look(info, at - begin + 3, error));
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
        if (!num_in_range(at, 2, file.length) || big_u16(file.data + at) < 2 ||
            !num_in_range(at, big_u16(file.data + at), file.length)) {
            return jpeg_cut("its headers", error);
        }
        Bytes body = slice(file, at + 2, big_u16(file.data + at) - 2);
        at += 2 + body.length;
        if (marker == 0xE1) {
            TRY(probe_look(info, body.length, error));
        }
        if (marker == 0xE1 && starts_with(body, exif_name, 6) && orientation.exif == 0) {
            orientation.exif = exif_orientation(body);
        } else if (marker == 0xE1 && starts_with(body, xmp_name, sizeof xmp_name)) {
            orientation.xmp = exif_orientation_xmp(body);
        } else if (marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 &&
                   marker != 0xCC && info->stored_width == 0) {
            if (body.length < 6) {
                return jpeg_cut("its frame header", error);
            }
            if (body.data[0] != 8) {
                return error_set(error, E_UNSUPPORTED,
                                 "The JPEG has %u bits per sample; 8 are supported.", body.data[0]);
            }
            info->stored_height = big_u16(body.data + 1);
            info->stored_width = big_u16(body.data + 3);
            uint32_t components = body.data[5];
            if (components != 1 && components != 3 && components != 4) {
                return error_set(error, E_UNSUPPORTED,
                                 "The JPEG has %u colour components; 1, 3 and 4 are supported.",
                                 components);
            }
        }
    }
    info->orientation = orientation_value(&orientation);
    return OK;
}

// The text of an uncompressed iTXt chunk named XML:com.adobe.xmp, else nothing. Layout: keyword, 0,
// compressed?, method, language, 0, translated keyword, 0, text.
static Bytes png_xmp(Bytes body) {
    static const char keyword[] = "XML:com.adobe.xmp";
    if (!starts_with(body, keyword, sizeof keyword) || body.length < sizeof keyword + 2 ||
        body.data[sizeof keyword] != 0) {
        return (Bytes){0};
    }
    return slice(body, sizeof keyword + 2, body.length - sizeof keyword - 2);
}

static Status probe_png(Bytes file, ImageInfo *info, Error *error) {
    Orientation orientation = {0};
    size_t at = sizeof png_signature;
    for (;;) {
        if (!num_in_range(at, 12, file.length) ||
            !num_in_range(at + 8, (uint64_t)big_u32(file.data + at) + 4, file.length)) {
            return error_set(error, E_IMAGE_DAMAGED, "The PNG file ends before its IEND chunk.");
        }
        Bytes body = slice(file, at + 8, big_u32(file.data + at));
        const uint8_t *name = file.data + at + 4;
        bool metadata = memcmp(name, "eXIf", 4) == 0 || memcmp(name, "iTXt", 4) == 0;
        TRY(probe_look(info, 12 + (metadata ? body.length : 0), error));
        if (at == sizeof png_signature) {
            if (memcmp(name, "IHDR", 4) != 0 || body.length != 13) {
                return error_set(error, E_IMAGE_DAMAGED,
                                 "The PNG file does not begin with an IHDR chunk of 13 bytes.");
            }
            info->stored_width = big_u32(body.data);
            info->stored_height = big_u32(body.data + 4);
        } else if (memcmp(name, "eXIf", 4) == 0 && orientation.exif == 0) {
            orientation.exif = exif_orientation(body);
        } else if (memcmp(name, "iTXt", 4) == 0 && orientation.xmp == 0) {
            orientation.xmp = exif_orientation_xmp(png_xmp(body));
        } else if (memcmp(name, "IEND", 4) == 0) {
            break;
        }
        at += 12 + body.length;
    }
    info->orientation = orientation_value(&orientation);
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
        !num_in_range(chunks->at + 8, little_u32(chunks->data.data + chunks->at + 4),
                      chunks->data.length)) {
        *damaged = true;
        return false;
    }
    *name = chunks->data.data + chunks->at;
    *body = slice(chunks->data, chunks->at + 8, little_u32(*name + 4));
    chunks->at += 8 + body->length + (body->length & 1);
    return true;
}

static Status webp_damaged(const char *what, Error *error) {
    return error_set(error, E_IMAGE_DAMAGED, "The WebP file %s.", what);
}

// The chunks of a WebP file after checking its RIFF header against the length of the file.
static Status webp_open(Bytes file, WebpChunks *chunks, Error *error) {
    if (file.length < 12) {
        return webp_damaged("ends inside its RIFF header", error);
    }
    uint64_t declared = little_u32(file.data + 4);
    if (declared < 4 || !num_in_range(8, declared, file.length)) {
        return webp_damaged("is shorter than its RIFF header says", error);
    }
    *chunks = (WebpChunks){.data = slice(file, 12, declared - 4)};
    return OK;
}

// Sizes as the two bitstreams store them: VP8 after a 3-byte frame tag and a start code (RFC 6386,
// 9.1), VP8L as 14 bits each after a signature byte.
static bool webp_bitstream_size(const uint8_t *name, Bytes body, ImageInfo *info) {
    if (memcmp(name, "VP8 ", 4) == 0 && body.length >= 10) {
        info->stored_width = little_u16(body.data + 6) & 0x3FFF;
        info->stored_height = little_u16(body.data + 8) & 0x3FFF;
        return true;
    }
    if (memcmp(name, "VP8L", 4) == 0 && body.length >= 5) {
        uint32_t bits = little_u32(body.data + 1);
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
    bool damaged = false, extended = false, has_picture = false;
    const uint8_t *name;
    Bytes body;
    while (webp_next(&chunks, &name, &body, &damaged)) {
        bool metadata = memcmp(name, "EXIF", 4) == 0 || memcmp(name, "XMP ", 4) == 0;
        TRY(probe_look(info, 8 + (metadata ? body.length : 0), error));
        if (memcmp(name, "VP8X", 4) == 0 && body.length >= 10) {
            extended = true;
            info->stored_width = little_u24(body.data + 4) + 1;
            info->stored_height = little_u24(body.data + 7) + 1;
        } else if (memcmp(name, "ANMF", 4) == 0) {
            has_picture = true;
        } else if (memcmp(name, "VP8 ", 4) == 0 || memcmp(name, "VP8L", 4) == 0) {
            has_picture = true;
            if (!extended && !webp_bitstream_size(name, body, info)) {
                return webp_damaged("ends inside its frame header", error);
            }
        } else if (memcmp(name, "EXIF", 4) == 0) {
            orientation.exif = exif_orientation(body);
        } else if (memcmp(name, "XMP ", 4) == 0) {
            orientation.xmp = exif_orientation_xmp(body);
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
    *frame = (WebpFrame){.data = slice(file, 0, chunks.data.length + 12)};
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
        frame->x = little_u24(body.data) * 2;
        frame->y = little_u24(body.data + 3) * 2;
        WebpChunks inside = {.data =
                                 slice(body, FRAME_HEADER_BYTES, body.length - FRAME_HEADER_BYTES)};
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

Status probe_file(Bytes file, ImageInfo *info, Error *error) {
    *info = (ImageInfo){0};
    if (starts_with(file, "\xFF\xD8\xFF", 3)) {
        info->format = IMAGE_JPEG;
        TRY(probe_jpeg(file, info, error));
    } else if (starts_with(file, png_signature, sizeof png_signature)) {
        info->format = IMAGE_PNG;
        TRY(probe_png(file, info, error));
    } else if (starts_with(file, "RIFF", 4) && num_in_range(8, 4, file.length) &&
               memcmp(file.data + 8, "WEBP", 4) == 0) {
        info->format = IMAGE_WEBP;
        TRY(probe_webp(file, info, error));
    } else {
        return error_set(error, E_IMAGE_FORMAT,
                         "The file is not a JPEG, PNG or WebP picture by its first bytes; it looks "
                         "like %s.",
                         looks_like(file));
    }
    if (info->stored_width == 0 || info->stored_height == 0) {
        return error_set(error, E_IMAGE_DAMAGED, "The %s file declares no size (%u x %u).",
                         media_format_name(info->format), info->stored_width, info->stored_height);
    }
    bool turned = info->orientation >= 5;
    info->width = turned ? info->stored_height : info->stored_width;
    info->height = turned ? info->stored_width : info->stored_height;
    return OK;
}
