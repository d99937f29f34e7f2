// Which clusters of a qcow2 file are in use, and by how many.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "disk/file_areas.h"
#include "disk/image_fault.h"
#include "disk/image_file.h"
#include "disk/qcow2/header.h"
#include "disk/table_cache.h"

namespace tsvmm::qcow2 {

// One thread at a time. Everything may block; errors are negative.
class Refcounts {
 public:
  // Clusters of the file, one after the other.
  struct Run {
    uint64_t offset = 0;
    uint64_t clusters = 0;
    bool is_zero = false;  // they were never written
  };

  // The table and the places of its blocks are checked and added to `areas`, which is to be checked then. What is given
  // stays.
  static ImageResult<std::unique_ptr<Refcounts>> open(ImageFile& file, const Header& header, FileAreas& areas,
                                                      ImageFault& fault);

  // Takes at least one and at most `clusters` that nobody uses; their refcount is 1 then. The file is as long as that.
  Result<Run> allocate(uint64_t clusters);
  // One user of the cluster at `offset` less; true where that was the last one.
  Result<bool> release(uint64_t offset);
  Result<uint64_t> count(uint64_t offset);
  // Tables of its own that it needs no more: to be released when nothing on stable storage refers to them.
  std::vector<uint64_t> take_abandoned() { return std::exchange(abandoned_, {}); }

  TableCache& cache() { return cache_; }

 private:
  Refcounts(ImageFile& file, const Header& header, FileAreas& areas, ImageFault& fault);

  uint64_t clusters_of_block() const { return header_.cluster_bytes() * 8 >> header_.refcount_order; }
  // A cluster's refcount is number `index` of those at `bytes`, which end with the cached block.
  struct Place {
    std::byte* bytes;
    uint64_t index;
    uint64_t left;  // how many follow in the cached block, with itself
  };
  Result<Place> find(uint64_t cluster);
  uint64_t load(const Place& place, uint64_t number) const;
  void store(const Place& place, uint64_t number, uint64_t value) const;
  void mark_changed(uint64_t cluster);
  int add_block(uint64_t cluster);
  int grow_table(uint64_t cluster);
  int write_blocks(uint64_t first, uint64_t blocks, uint64_t used);
  Result<Run> take(uint64_t cluster, const Place& place, uint64_t clusters);
  Result<Run> take_returned(uint64_t clusters);
  int extend_file(uint64_t end);

  ImageFile& file_;
  const Header header_;
  FileAreas& areas_;
  ImageFault& fault_;
  uint64_t table_offset_;
  std::vector<uint64_t> table_;  // offsets of blocks, 0: none
  TableCache cache_;
  uint64_t written_end_;  // what lies behind it was never written
  uint64_t next_ = 0;     // cluster: none below is free that is not in returned_
  std::vector<uint64_t> returned_;
  std::vector<uint64_t> abandoned_;
};

}  // namespace tsvmm::qcow2
