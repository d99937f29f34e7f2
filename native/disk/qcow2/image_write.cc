// How a qcow2 image writes what has no place of its own yet.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "disk/qcow2/format.h"
#include "disk/qcow2/image.h"
#include "io/pieces.h"

namespace tsvmm::qcow2 {

namespace {

bool is_all_zero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

// Not so where it can be written, or is empty and has one.
bool needs_place(Entry entry) { return !entry.is_writable() && (entry.is_plain() || entry.offset() == 0); }

}  // namespace

// What it can at once of the clusters that begin there.
Result<uint64_t> Image::write_other(uint64_t offset, std::span<const iovec> pieces) {
  const auto plan = plan_write(offset, bytes_of(pieces));
  if (!plan) return plan.failure();
  const auto& [first, clusters, place, is_zero, in_place] = plan.value();
  if (clusters == 0) return uint64_t{0};
  const auto bytes = std::min<uint64_t>(bytes_of(pieces), ((first + clusters) << header_.cluster_bits) - offset);
  std::vector<iovec> part;
  add_part(part, pieces, 0, bytes);
  const int error = finish(plan.value(), fill(plan.value(), offset, part));
  if (error != 0) return Failure{-error, "write"};
  return bytes;
}

// Clusters that are being written by another request are waited for; those of the plan are others' to wait for, until
// finish().
Result<Image::Plan> Image::plan_write(uint64_t offset, uint64_t length) {
  const auto first = offset >> header_.cluster_bits;
  const auto end = std::min(((offset + length - 1) >> header_.cluster_bits) + 1, table_->end_of_block(first));
  if (const int error = relieve(); error != 0) return Failure{-error, "write tables"};
  std::unique_lock lock(metadata_);
  wait_for_writers(lock, first, end);
  if (const int error = own_table(first); error != 0) return Failure{-error, "write an L2 table"};
  if (const int error = load(first); error != 0) return Failure{-error, "read an L2 table"};
  auto plan = plan_clusters(first, end - first);
  if (plan && plan.value().clusters != 0) writing_.push_back(plan.value());
  return plan;
}

void Image::wait_for_writers(std::unique_lock<std::mutex>& lock, uint64_t first, uint64_t end) {
  written_.wait(lock, [&] {
    return std::ranges::none_of(
        writing_, [&](const Plan& plan) { return plan.first < end && first < plan.first + plan.clusters; });
  });
}

// `first` is in memory, and with it all of them.
Result<Image::Plan> Image::plan_clusters(uint64_t first, uint64_t clusters) {
  Plan plan{.first = first};
  std::unique_lock lock(map_);
  const auto entry = *table_->find(first);
  if (entry.is_writable()) {
    const char* area = areas_.find(entry.offset(), cluster_bytes());
    if (area == nullptr) return plan;
    const int error = fault_.report("cluster " + std::to_string(first) + " of the disk is in " + area);
    return Failure{-error, "write"};
  }
  uint64_t wanted = 1;
  while (wanted < clusters && needs_place(*table_->find(first + wanted))) ++wanted;
  lock.unlock();
  if (entry.offset() != 0) {
    const auto users = refcounts_->count(entry.offset());
    if (!users) return users.failure();
    if (users.value() == 1 && entry.is_zero()) {
      return Plan{.first = first, .clusters = 1, .offset = entry.offset(), .in_place = true};
    }
    if (users.value() == 1) {
      // It is nobody else's, the entry only did not say so.
      lock.lock();
      table_->set(first, Entry(entry.value() | kCopied));
      return plan;
    }
  }
  const auto run = refcounts_->allocate(wanted);
  if (!run) return run.failure();
  return Plan{
      .first = first, .clusters = run.value().clusters, .offset = run.value().offset, .is_zero = run.value().is_zero};
}

// All of the clusters: what is not of the request is as it was before.
int Image::fill(const Plan& plan, uint64_t offset, std::span<const iovec> pieces) {
  const auto start = plan.first << header_.cluster_bits;
  const auto stop = (plan.first + plan.clusters) << header_.cluster_bits;
  const auto end = offset + bytes_of(pieces);
  std::vector<std::byte> head(offset - start);
  std::vector<std::byte> tail(stop - end);
  const auto read_old = [&](uint64_t from, std::vector<std::byte>& bytes) {
    // The last cluster may go beyond the disk.
    const iovec piece{bytes.data(), from < size() ? std::min<uint64_t>(bytes.size(), size() - from) : 0};
    return piece.iov_len == 0 ? 0 : read(from, {&piece, 1});
  };
  if (const int error = read_old(start, head); error != 0) return error;
  if (const int error = read_old(end, tail); error != 0) return error;
  std::vector<iovec> all;
  auto place = plan.offset;
  if (plan.is_zero && is_all_zero(head)) {
    place += head.size();
  } else if (!head.empty()) {
    all.push_back({head.data(), head.size()});
  }
  all.insert(all.end(), pieces.begin(), pieces.end());
  if (!tail.empty() && !(plan.is_zero && is_all_zero(tail))) all.push_back({tail.data(), tail.size()});
  return file().write(place, all);
}

// Returns `error`, or what happens here.
int Image::finish(const Plan& plan, int error) {
  std::lock_guard lock(metadata_);
  if (error == 0) error = load(plan.first);
  if (error == 0) {
    std::lock_guard map_lock(map_);
    for (uint64_t number = 0; number < plan.clusters; ++number) {
      const auto old = *table_->find(plan.first + number);
      if (!plan.in_place) give_up(old);
      table_->set(plan.first + number, Entry((plan.offset + (number << header_.cluster_bits)) | kCopied));
    }
  } else if (!plan.in_place) {
    // Nothing has ever referred to them.
    for (uint64_t number = 0; number < plan.clusters; ++number) {
      static_cast<void>(refcounts_->release(plan.offset + (number << header_.cluster_bits)));
    }
  }
  std::erase_if(writing_, [&](const Plan& each) { return each.first == plan.first; });
  written_.notify_all();
  return error;
}

// The L2 table of the cluster is there, and this disk's alone.
int Image::own_table(uint64_t cluster) {
  const auto old = table_->table_of(cluster);
  const auto old_offset = old & kOffsetMask;
  if ((old & kCopied) != 0) return 0;
  if (old_offset != 0) {
    const auto users = refcounts_->count(old_offset);
    if (!users) return -users.failure().error;
    if (users.value() == 1) {
      std::lock_guard lock(map_);
      table_->set_table(cluster, old_offset | kCopied);
      return 0;
    }
  }
  const auto run = refcounts_->allocate(1);
  if (!run) return -run.failure().error;
  const auto offset = run.value().offset;
  const int error = old_offset == 0 && run.value().is_zero ? 0 : write_table(old_offset, offset);
  if (error != 0) {
    static_cast<void>(refcounts_->release(offset));
    return error;
  }
  areas_.insert({offset, cluster_bytes(), "an L2 table"});
  if (old_offset != 0) given_up_.push_back(old_offset);
  std::lock_guard lock(map_);
  table_->set_table(cluster, offset | kCopied);
  return 0;
}

// A copy of another table, which nobody changes; an empty one where that is 0.
int Image::write_table(uint64_t old_table, uint64_t offset) {
  std::vector<std::byte> content(cluster_bytes());
  if (old_table != 0) {
    if (const int error = tables_file_->read(old_table, content); error != 0) return error;
  }
  return tables_file_->write(offset, content);
}

// Its entry is, or was, replaced.
void Image::give_up(Entry entry) {
  if (!entry.is_compressed()) {
    if (entry.offset() != 0) given_up_.push_back(entry.offset());
    return;
  }
  const auto [offset, length] = compressed_place(entry, header_);
  const auto last = (offset + length - 1) / cluster_bytes() * cluster_bytes();
  for (auto cluster = offset / cluster_bytes() * cluster_bytes(); cluster <= last; cluster += cluster_bytes()) {
    given_up_.push_back(cluster);
  }
}

}  // namespace tsvmm::qcow2
