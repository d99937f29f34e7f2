// Blocks of an image's tables, held as they are in its file or, where they were changed, as they are to be there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <span>
#include <unordered_map>
#include <vector>

#include "disk/image_file.h"

namespace tsvmm {

// One thread at a time; what blocks is done by the caller, apart from any lock that lookups are under.
class TableCache {
 public:
  // What is to be written: copies, so that the blocks may be changed meanwhile.
  struct Copy {
    uint64_t offset;
    std::vector<std::byte> bytes;
  };

  // `block_bytes` is a power of two. Holds `most_blocks`, more only while they are changed and not written.
  TableCache(uint32_t block_bytes, size_t most_blocks) : block_bytes_(block_bytes), most_blocks_(most_blocks) {}

  uint32_t block_bytes() const { return block_bytes_; }
  uint64_t start_of(uint64_t offset) const { return offset & ~uint64_t{block_bytes_ - 1}; }

  // The byte at `offset` of the file and those after it in its block; nullptr where that is not here.
  std::byte* find(uint64_t offset);
  // `bytes` are a block as it is in the file at `start`; the one that is here stays.
  void insert(uint64_t start, std::vector<std::byte> bytes);
  // After find() and a change.
  void mark_changed(uint64_t offset);
  // So many are changed that they should be written.
  bool is_crowded() const { return changed_.size() * 2 > most_blocks_; }
  bool has_changes() const { return !changed_.empty(); }

  // All that was changed. To be followed by written() when it is in the file.
  std::vector<Copy> take_changes();
  void written(std::span<const Copy> copies, bool successfully);
  // How often blocks were written: what was read before one more may be outdated.
  uint64_t generation() const { return generation_; }

 private:
  struct Block {
    uint64_t start;
    std::vector<std::byte> bytes;
    bool is_changed = false;
    bool is_being_written = false;
  };

  void make_room();
  void mark_changed(Block& block);

  uint32_t block_bytes_;
  size_t most_blocks_;
  std::list<Block> blocks_;  // the one used last first
  std::unordered_map<uint64_t, std::list<Block>::iterator> places_;
  std::vector<uint64_t> changed_;  // starts of blocks
  uint64_t generation_ = 0;
};

// Writes them in the order of the file. Blocks; 0 or -errno.
int write_copies(ImageFile& file, std::span<const TableCache::Copy> copies);

}  // namespace tsvmm
