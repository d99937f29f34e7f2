// Where the parts of a VHDX file are, judged.
#pragma once

#include <cstdint>

#include "disk/file_areas.h"
#include "disk/image_error.h"
#include "disk/image_file.h"
#include "disk/vhdx/format.h"

namespace tsvmm::vhdx {

// The header that counts (§2.2.2).
struct Header {
  uint64_t sequence = 0;
  size_t place = 0;  // of the two
  Guid file_write_guid{};
  Guid data_write_guid{};
  Guid log_guid{};  // all zero: the log is empty
  uint64_t log_offset = 0;
  uint64_t log_length = 0;
};

struct Layout {
  uint64_t size = 0;  // of the disk, bytes
  uint64_t block_bytes = 0;
  uint32_t logical_sector = 512;
  uint64_t bat_offset = 0;
  uint64_t bat_length = 0;

  // Of payload blocks; a sector bitmap's entry follows those of each chunk.
  uint64_t chunk_ratio() const { return kChunkSectors * logical_sector / block_bytes; }
  uint64_t blocks() const { return (size + block_bytes - 1) / block_bytes; }
  uint64_t entry_offset(uint64_t block) const {
    return bat_offset + (block + block / chunk_ratio()) * sizeof(uint64_t);
  }
};

// All of these block.
ImageResult<Header> read_header(const ImageFile& file);
// Takes the place of the older one; then it counts. 0 or -errno.
int write_header(ImageFile& file, Header& header);
// Regions and metadata, when the log has nothing for them; their areas are added and checked.
ImageResult<Layout> read_layout(const ImageFile& file, const Header& header, FileAreas& areas);

// Random, and never all zero.
Guid new_guid();

}  // namespace tsvmm::vhdx
