// Where the clusters of a qcow2 disk are: its L1 table, and what is in memory of its L2 tables.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "disk/file_areas.h"
#include "disk/image_fault.h"
#include "disk/image_file.h"
#include "disk/qcow2/format.h"
#include "disk/qcow2/header.h"
#include "disk/table_cache.h"

namespace tsvmm::qcow2 {

// What an entry of an L2 table says of a cluster.
class Entry {
 public:
  explicit Entry(uint64_t value = 0) : value_(value) {}

  uint64_t value() const { return value_; }
  bool is_compressed() const { return (value_ & kCompressed) != 0; }
  // It reads as zeroes, whatever is at its place.
  bool is_zero() const { return !is_compressed() && (value_ & kZero) != 0; }
  // Of one that is not compressed: where it is in the file; 0 where it has no place.
  uint64_t offset() const { return is_compressed() ? 0 : value_ & kOffsetMask; }
  // It has nothing of its own: the backing file's, or zeroes.
  bool is_absent() const { return !is_compressed() && !is_zero() && offset() == 0; }
  // Its bytes are read where they are.
  bool is_plain() const { return !is_compressed() && !is_zero() && offset() != 0; }
  // They may be written there, too: nobody else uses them.
  bool is_writable() const { return is_plain() && (value_ & kCopied) != 0; }

 private:
  uint64_t value_;
};

// Where the data of a compressed cluster is; it ends somewhere in its last sector.
struct CompressedPlace {
  uint64_t offset;
  uint64_t length;
};
CompressedPlace compressed_place(Entry entry, const Header& header);

// One thread at a time, but read_block() is for any.
class ClusterTable {
 public:
  // Reads the L1 table; the places of L2 tables are checked and added to `areas`. Blocks. What is given stays.
  static ImageResult<std::unique_ptr<ClusterTable>> open(const ImageFile& file, const Header& header, FileAreas& areas,
                                                         ImageFault& fault);

  // `cluster` counts those of the disk. Nothing where that part of its L2 table is not in memory.
  std::optional<Entry> find(uint64_t cluster);
  // After find().
  void set(uint64_t cluster, Entry entry);
  // The first cluster whose entry is in another block of a table.
  uint64_t end_of_block(uint64_t cluster) const { return (cluster | (entries_of_block() - 1)) + 1; }

  // Of the L2 table with the cluster: as it stands in the L1 table.
  uint64_t table_of(uint64_t cluster) const { return l1_[cluster / header_.l2_entries()]; }
  void set_table(uint64_t cluster, uint64_t value);

  // How a part of a table comes into memory (MappedImage::load).
  uint64_t block_of(uint64_t cluster) const;
  // Blocks. Checks every entry; 0 or -errno.
  int read_block(uint64_t start, std::vector<std::byte>& bytes) const;
  TableCache& cache() { return cache_; }

  bool is_crowded() const { return cache_.is_crowded(); }
  // What is to be written, L2 tables first and then, when they are there, entries of the L1 table.
  struct Changes {
    std::vector<TableCache::Copy> tables;
    std::vector<std::pair<uint64_t, uint64_t>> l1;  // numbers and values of entries

    bool any() const { return !tables.empty() || !l1.empty(); }
  };
  Changes take_changes();
  void written(const Changes& changes, bool successfully);

 private:
  ClusterTable(const ImageFile& file, const Header& header, FileAreas& areas, ImageFault& fault);

  uint64_t entries_of_block() const { return cache_.block_bytes() / sizeof(uint64_t); }
  uint64_t place_of(uint64_t cluster) const;
  int judge(Entry entry, uint64_t place) const;

  const ImageFile& file_;
  const Header header_;
  FileAreas& areas_;
  ImageFault& fault_;
  std::vector<uint64_t> l1_;
  std::vector<uint64_t> changed_l1_;
  TableCache cache_;
};

}  // namespace tsvmm::qcow2
