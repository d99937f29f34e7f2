// The header of a qcow2 file, judged.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "disk/file_areas.h"
#include "disk/image_error.h"
#include "disk/image_file.h"

namespace tsvmm::qcow2 {

enum class Compression : uint8_t { kZlib = 0, kZstd = 1 };

struct Header {
  uint32_t version = 0;
  uint32_t cluster_bits = 0;
  uint64_t size = 0;  // bytes
  uint64_t l1_offset = 0;
  uint32_t l1_entries = 0;
  uint64_t refcount_table_offset = 0;
  uint32_t refcount_table_clusters = 0;
  uint32_t refcount_order = 4;  // a refcount has 1 << order bits
  uint32_t snapshots = 0;
  uint64_t snapshots_offset = 0;
  uint64_t autoclear_features = 0;
  Compression compression = Compression::kZlib;
  std::string backing_file;    // as it stands there; empty where there is none
  std::string backing_format;  // empty where it does not say

  uint64_t cluster_bytes() const { return uint64_t{1} << cluster_bits; }
  // Entries of an L2 table, each for a cluster.
  uint64_t l2_entries() const { return cluster_bytes() / sizeof(uint64_t); }
  uint64_t bytes_of_l2() const { return l2_entries() << cluster_bits; }
  // What is held of a table at a time.
  uint32_t cached_bytes() const { return static_cast<uint32_t>(std::min<uint64_t>(cluster_bytes(), 4096)); }
};

// Blocks. Everything in it lies in the file and is of a size that can be; what `writable` asks for that the file
// forbids is refused, as are features that are not known here.
ImageResult<Header> read_header(const ImageFile& file, bool writable);

// The areas that the header and the table of snapshots know of: header, L1 tables, refcount table, snapshot table.
// Blocks.
ImageResult<> add_areas(const ImageFile& file, const Header& header, FileAreas& areas);

}  // namespace tsvmm::qcow2
