// How changed tables of a qcow2 image come to its file.
#include <algorithm>
#include <array>
#include <utility>

#include "disk/qcow2/image.h"
#include "sys/byte_order.h"

namespace tsvmm::qcow2 {

namespace {

// A guest that never flushes gets no more of the host's space than these take, and its disk.
constexpr size_t kMaximumGivenUp = 1024;

}  // namespace

Image::~Image() {
  if (file().options().read_only || !refcounts_) return;
  bool has_garbage = false;
  {
    std::lock_guard lock(metadata_);
    has_garbage = !given_up_.empty() || !unreachable_.empty();
  }
  // The first has what was given up released, the second writes the refcounts of that.
  if (write_back(has_garbage) == 0 && has_garbage) write_back(false);
}

// Writes where so much waits for it that it should not become more.
int Image::relieve() {
  bool is_crowded = false;
  {
    std::lock_guard lock(metadata_);
    std::lock_guard map_lock(map_);
    is_crowded = table_->is_crowded() || given_up_.size() > kMaximumGivenUp;
  }
  return is_crowded ? write_back(true) : 0;
}

int Image::write_back(bool to_stable_storage) {
  if (file().options().read_only) return 0;
  std::lock_guard writing(write_back_);
  ClusterTable::Changes changes;
  std::vector<TableCache::Copy> counts;
  std::vector<uint64_t> given_up;
  {
    std::lock_guard lock(metadata_);
    std::lock_guard map_lock(map_);
    changes = table_->take_changes();
    counts = refcounts_->cache().take_changes();
    given_up = std::exchange(given_up_, refcounts_->take_abandoned());
  }
  int error = write_copies(*tables_file_, counts);
  if (error == 0 && changes.any()) error = tables_file_->sync();
  if (error == 0) error = write_copies(*tables_file_, changes.tables);
  if (error == 0 && !changes.l1.empty()) error = write_l1(changes);
  if (error == 0 && to_stable_storage) error = tables_file_->sync();

  std::lock_guard lock(metadata_);
  refcounts_->cache().written(counts, error == 0);
  std::unique_lock map_lock(map_);
  table_->written(changes, error == 0);
  if (error != 0 || !to_stable_storage) {
    given_up_.insert(given_up_.end(), given_up.begin(), given_up.end());
    return error;
  }
  for (const auto offset : given_up) unreachable_.push_back({grace_.free_epoch(), offset});
  map_lock.unlock();
  reclaim();
  return 0;
}

int Image::write_l1(const ClusterTable::Changes& changes) {
  if (const int error = tables_file_->sync(); error != 0) return error;
  for (const auto& [number, value] : changes.l1) {
    std::array<std::byte, sizeof(uint64_t)> bytes;
    store_big_endian(bytes.data(), value);
    if (const int error = tables_file_->write(header_.l1_offset + number * sizeof(uint64_t), bytes); error != 0)
      return error;
  }
  return 0;
}

// Under metadata_. Clusters that nothing refers to and nobody is at any more are free. What fails is space lost.
void Image::reclaim() {
  if (unreachable_.empty()) return;
  uint64_t epoch = 0;
  {
    std::lock_guard lock(map_);
    epoch = grace_.advance();
  }
  std::vector<uint64_t> offsets;
  std::erase_if(unreachable_, [&](const Unreachable& each) {
    if (each.epoch > epoch) return false;
    offsets.push_back(each.offset);
    return true;
  });
  std::ranges::sort(offsets);
  uint64_t start = 0;
  uint64_t end = 0;
  const auto give_back = [&] {
    if (file().options().sparse && start != end) tables_file_->clear(start, end - start, true);
  };
  for (const auto offset : offsets) {
    const auto is_free = refcounts_->release(offset);
    if (!is_free || !is_free.value()) continue;
    if (offset != end) {
      give_back();
      start = offset;
    }
    end = offset + cluster_bytes();
  }
  give_back();
}

}  // namespace tsvmm::qcow2
