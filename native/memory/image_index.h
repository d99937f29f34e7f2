// What is where in one layer of a memory image, and the checksums: memory.index of a snapshot. Little-endian:
//   header       magic "TSVMMIX1", u32 form, u32 4096, u32 256, u32 0, u64 pages
//   present      one bit a page: it belongs to this layer (all in a full snapshot, the changed ones in an incremental)
//   data         one bit a page, subset of present: it is not all zero. Both in ceil(pages / 64) u64
//   image form   a u32 CRC-32C for each data page, ascending; the page is at its own place in the file
//   zstd form    {u64 offset, u32 bytes, u32 CRC-32C of the frame} for each span that has data pages, ascending; the
//   frame
//                holds these pages one after the other
//   u32 CRC-32C of all that
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "memory/page_bitmap.h"
#include "sys/result.h"

namespace tsvmm {

enum class ImageForm : uint32_t { kImage = 0, kZstd = 1 };

struct ImageFrame {
  uint64_t offset = 0;
  uint32_t bytes = 0;
  uint32_t checksum = 0;
};
static_assert(sizeof(ImageFrame) == 16);

struct ImageIndex {
  ImageForm form = ImageForm::kImage;
  PageBitmap present;
  PageBitmap data;
  std::vector<uint32_t> checksums;  // image form
  std::vector<ImageFrame> frames;   // zstd form

  // EBADMSG with what is wrong as the operation. What is parsed is consistent in itself; whether the file behind it is
  // long enough is for whoever opens that to check.
  static Result<ImageIndex> parse(std::span<const std::byte> bytes);
  std::vector<std::byte> encode() const;

  uint64_t pages() const { return present.pages(); }
  uint64_t spans() const { return present.spans(); }

  // After parse() or rank(). The place of a data page among the checksums, of a span with data among the frames.
  uint64_t data_ordinal(uint64_t page) const;
  uint64_t frame_ordinal(uint64_t span) const { return frame_ranks_[span]; }
  void rank();

 private:
  // How many there are before each span.
  std::vector<uint64_t> data_ranks_;
  std::vector<uint64_t> frame_ranks_;
};

}  // namespace tsvmm
