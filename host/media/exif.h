// SPDX-License-Identifier: Apache-2.0
// The orientation of a picture, from EXIF (a small TIFF file) or else from XMP (XML), as Pillow's
// Image.getexif reads it. Both functions accept any bytes and return 0 when there is none.
// 9 stands for a value that turns nothing, so that it hides XMP as it does there.
#ifndef HOST_MEDIA_EXIF_H
#define HOST_MEDIA_EXIF_H

#include "base/bytes.h"

// The first value of tag 0x0112 in the first directory, whatever its count and numeric type (bytes
// are text to Pillow: 9); `data` may begin with "Exif\0\0", twice too.
uint32_t exif_orientation(Bytes data);

// The digit after `tiff:Orientation="` or `tiff:Orientation>`.
uint32_t exif_orientation_xmp(Bytes data);

#endif
