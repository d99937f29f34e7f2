#include "disk/table_cache.h"

#include <algorithm>
#include <utility>

namespace tsvmm {

std::byte* TableCache::find(uint64_t offset) {
  const auto start = start_of(offset);
  const auto found = places_.find(start);
  if (found == places_.end()) return nullptr;
  blocks_.splice(blocks_.begin(), blocks_, found->second);
  return found->second->bytes.data() + (offset - start);
}

void TableCache::insert(uint64_t start, std::vector<std::byte> bytes) {
  if (places_.contains(start)) return;
  make_room();
  blocks_.push_front({start, std::move(bytes)});
  places_[start] = blocks_.begin();
}

void TableCache::make_room() {
  auto block = blocks_.end();
  while (blocks_.size() >= most_blocks_ && block != blocks_.begin()) {
    --block;
    if (block->is_changed || block->is_being_written) continue;
    places_.erase(block->start);
    block = blocks_.erase(block);
  }
}

void TableCache::mark_changed(uint64_t offset) { mark_changed(*places_.at(start_of(offset))); }

void TableCache::mark_changed(Block& block) {
  if (!std::exchange(block.is_changed, true)) changed_.push_back(block.start);
}

std::vector<TableCache::Copy> TableCache::take_changes() {
  std::ranges::sort(changed_);
  std::vector<Copy> copies;
  for (const auto start : changed_) {
    auto& block = *places_.at(start);
    block.is_changed = false;
    block.is_being_written = true;
    copies.push_back({start, block.bytes});
  }
  changed_.clear();
  return copies;
}

void TableCache::written(std::span<const Copy> copies, bool successfully) {
  for (const auto& copy : copies) {
    auto& block = *places_.at(copy.offset);
    block.is_being_written = false;
    if (!successfully) mark_changed(block);
  }
  ++generation_;
}

int write_copies(ImageFile& file, std::span<const TableCache::Copy> copies) {
  for (const auto& copy : copies) {
    if (const int error = file.write(copy.offset, copy.bytes); error != 0) return error;
  }
  return 0;
}

}  // namespace tsvmm
