// How clusters of a qcow2 image lose what is in them.
#include <algorithm>

#include "disk/qcow2/format.h"
#include "disk/qcow2/image.h"

namespace tsvmm::qcow2 {

// An entry that reads as zeroes and has no place; nothing where it is so already, or where version 2 has none such.
std::optional<Entry> Image::without_data(Entry entry) const {
  if (backing_ && header_.version < 3) return {};
  const Entry empty(backing_ ? kZero : 0);
  if (entry.value() == empty.value() || (entry.is_absent() && !backing_)) return {};
  return empty;
}

int Image::discard(uint64_t offset, uint64_t length) {
  if (!file().options().sparse) return 0;
  const auto first = (offset + cluster_bytes() - 1) >> header_.cluster_bits;
  const auto end = offset + length == size() ? (size() + cluster_bytes() - 1) >> header_.cluster_bits
                                             : (offset + length) >> header_.cluster_bits;
  return change_clusters(first, end, [this](Entry entry) { return without_data(entry); });
}

int Image::write_zeroes(uint64_t offset, uint64_t length, bool unmap) {
  const bool deallocates = unmap && file().options().sparse;
  if (header_.version < 3 && (backing_ || !deallocates)) return write_zero_bytes(offset, length);
  const auto first = (offset + cluster_bytes() - 1) >> header_.cluster_bits;
  const auto last = (offset + length) >> header_.cluster_bits;
  if (first >= last) return write_zero_bytes(offset, length);
  const auto start = first << header_.cluster_bits;
  const auto end = last << header_.cluster_bits;
  if (const int error = write_zero_bytes(offset, start - offset); error != 0) return error;
  if (const int error = write_zero_bytes(end, offset + length - end); error != 0) return error;
  return change_clusters(first, last, [this, deallocates](Entry entry) -> std::optional<Entry> {
    if (deallocates || entry.is_absent() || entry.is_compressed()) return without_data(entry);
    if (entry.is_zero()) return {};
    return Entry(entry.value() | kZero);
  });
}

int Image::change_clusters(uint64_t first, uint64_t end, const Change& change) {
  while (first < end) {
    if (const int error = relieve(); error != 0) return error;
    std::unique_lock lock(metadata_);
    const auto stop = std::min(end, table_->end_of_block(first));
    wait_for_writers(lock, first, stop);
    const bool has_table = (table_->table_of(first) & kOffsetMask) != 0;
    if (!has_table && !change(Entry())) {
      first = std::min(end, (first / header_.l2_entries() + 1) * header_.l2_entries());
      continue;
    }
    if (const int error = change_block(first, stop, change); error != 0) return error;
    first = stop;
  }
  return 0;
}

// All of them have their entries in one block of a table.
int Image::change_block(uint64_t first, uint64_t end, const Change& change) {
  if (const int error = own_table(first); error != 0) return error;
  if (const int error = load(first); error != 0) return error;
  std::lock_guard lock(map_);
  for (auto cluster = first; cluster < end; ++cluster) {
    const auto old = *table_->find(cluster);
    const auto changed = change(old);
    if (!changed) continue;
    // One that keeps its place is only marked.
    if (changed->offset() == 0) give_up(old);
    table_->set(cluster, *changed);
  }
  return 0;
}

}  // namespace tsvmm::qcow2
