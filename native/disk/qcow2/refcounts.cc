#include "disk/qcow2/refcounts.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include "disk/qcow2/format.h"
#include "sys/byte_order.h"

namespace tsvmm::qcow2 {

namespace {

constexpr uint64_t kCacheBytes = 1u << 20;
// The file grows by so much at a time; what is not written of it takes no space.
constexpr uint64_t kGrowth = 1u << 20;
// Entries of tables hold offsets below this.
constexpr uint64_t kMaximumFileEnd = uint64_t{1} << 56;

uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

Refcounts::Refcounts(ImageFile& file, const Header& header, FileAreas& areas, ImageFault& fault)
    : file_(file),
      header_(header),
      areas_(areas),
      fault_(fault),
      table_offset_(header.refcount_table_offset),
      cache_(header.cached_bytes(), kCacheBytes / header.cached_bytes()),
      written_end_(round_up(file.size(), header.cluster_bytes())) {}

ImageResult<std::unique_ptr<Refcounts>> Refcounts::open(ImageFile& file, const Header& header, FileAreas& areas,
                                                        ImageFault& fault) {
  std::unique_ptr<Refcounts> refcounts(new Refcounts(file, header, areas, fault));
  std::vector<std::byte> bytes(uint64_t{header.refcount_table_clusters} << header.cluster_bits);
  if (const int error = file.read(header.refcount_table_offset, bytes); error != 0) {
    return host_error("read the refcount table", header.refcount_table_offset, error);
  }
  auto& table = refcounts->table_;
  table.resize(bytes.size() / sizeof(uint64_t));
  for (size_t number = 0; number < table.size(); ++number) {
    const auto offset = table[number] = load_big_endian<uint64_t>(&bytes[number * sizeof(uint64_t)]);
    if (offset == 0) continue;
    if (offset % header.cluster_bytes() != 0 || offset >= file.size() ||
        file.size() - offset < header.cluster_bytes()) {
      return ImageError{"refcount block " + std::to_string(number) + " at " + hexadecimal(offset) +
                        " is not a cluster of the file"};
    }
    areas.add({offset, header.cluster_bytes(), "a refcount block"});
  }
  return refcounts;
}

Result<Refcounts::Place> Refcounts::find(uint64_t cluster) {
  const auto block = table_[cluster / clusters_of_block()];
  const auto index = cluster % clusters_of_block();
  const auto start = block + (((index << header_.refcount_order) / 8) & ~uint64_t{cache_.block_bytes() - 1});
  auto* bytes = cache_.find(start);
  if (bytes == nullptr) {
    std::vector<std::byte> content(cache_.block_bytes());
    if (const int error = file_.read(start, content); error != 0) return Failure{-error, "read a refcount block"};
    cache_.insert(start, std::move(content));
    bytes = cache_.find(start);
  }
  const auto cached = uint64_t{cache_.block_bytes()} * 8 >> header_.refcount_order;
  return Place{bytes, index % cached, cached - index % cached};
}

// Of less than a byte: the lowest bits come first.
uint64_t Refcounts::load(const Place& place, uint64_t number) const {
  const auto order = header_.refcount_order;
  const auto index = place.index + number;
  const auto* bytes = place.bytes + ((index << order) / 8);
  switch (order) {
    case 3:
      return load_big_endian<uint8_t>(bytes);
    case 4:
      return load_big_endian<uint16_t>(bytes);
    case 5:
      return load_big_endian<uint32_t>(bytes);
    case 6:
      return load_big_endian<uint64_t>(bytes);
    default:
      return std::to_integer<uint64_t>(*bytes) >> ((index << order) % 8) & ((1u << (1u << order)) - 1);
  }
}

void Refcounts::store(const Place& place, uint64_t number, uint64_t value) const {
  const auto order = header_.refcount_order;
  const auto index = place.index + number;
  auto* bytes = place.bytes + ((index << order) / 8);
  switch (order) {
    case 3:
      return store_big_endian(bytes, static_cast<uint8_t>(value));
    case 4:
      return store_big_endian(bytes, static_cast<uint16_t>(value));
    case 5:
      return store_big_endian(bytes, static_cast<uint32_t>(value));
    case 6:
      return store_big_endian(bytes, value);
    default: {
      const auto shift = (index << order) % 8;
      const auto mask = ((1u << (1u << order)) - 1) << shift;
      *bytes = static_cast<std::byte>((std::to_integer<unsigned>(*bytes) & ~mask) | value << shift);
    }
  }
}

Result<uint64_t> Refcounts::count(uint64_t offset) {
  const auto cluster = offset >> header_.cluster_bits;
  const auto block = cluster / clusters_of_block();
  if (block >= table_.size() || table_[block] == 0) return uint64_t{0};
  const auto place = find(cluster);
  if (!place) return place.failure();
  return load(place.value(), 0);
}

Result<bool> Refcounts::release(uint64_t offset) {
  const auto users = count(offset);
  if (!users) return users.failure();
  if (users.value() == 0) {
    const int error = fault_.report("the refcount of the cluster at " + hexadecimal(offset) + " is too low");
    return Failure{-error, "release a cluster"};
  }
  const auto cluster = offset >> header_.cluster_bits;
  const auto place = find(cluster);
  if (!place) return place.failure();
  store(place.value(), 0, users.value() - 1);
  mark_changed(cluster);
  if (users.value() != 1) return false;
  areas_.remove(offset);
  returned_.push_back(cluster);
  return true;
}

void Refcounts::mark_changed(uint64_t cluster) {
  const auto index = cluster % clusters_of_block();
  cache_.mark_changed(table_[cluster / clusters_of_block()] + (index << header_.refcount_order) / 8);
}

Result<Refcounts::Run> Refcounts::allocate(uint64_t clusters) {
  if (!returned_.empty()) return take_returned(clusters);
  for (;;) {
    const auto block = next_ / clusters_of_block();
    int error = 0;
    if (block >= table_.size()) {
      error = grow_table(next_);
    } else if (table_[block] == 0) {
      error = add_block(next_);
    }
    if (error != 0) return Failure{-error, "allocate clusters"};
    const auto place = find(next_);
    if (!place) return place.failure();
    uint64_t number = 0;
    while (number < place.value().left && load(place.value(), number) != 0) ++number;
    next_ += number;
    if (number == place.value().left) continue;
    return take(next_, find(next_).value(), clusters);
  }
}

// `cluster` is at `place` and free.
Result<Refcounts::Run> Refcounts::take(uint64_t cluster, const Place& place, uint64_t clusters) {
  Run run{.offset = cluster << header_.cluster_bits};
  const auto most = std::min(clusters, place.left);
  while (run.clusters < most && load(place, run.clusters) == 0) ++run.clusters;
  const auto bytes = run.clusters << header_.cluster_bits;
  // Of an image whose refcounts are wrong this would be the end.
  if (const char* area = areas_.find(run.offset, bytes); area != nullptr) {
    const int error =
        fault_.report("the refcounts say that " + std::string(area) + " at " + hexadecimal(run.offset) + " is free");
    return Failure{-error, "allocate clusters"};
  }
  run.is_zero = run.offset >= written_end_ && !file_.is_block_device();
  if (const int error = extend_file(run.offset + bytes); error != 0) return Failure{-error, "allocate clusters"};
  for (uint64_t number = 0; number < run.clusters; ++number) store(place, number, 1);
  mark_changed(cluster);
  written_end_ = std::max(written_end_, run.offset + bytes);
  if (cluster == next_) next_ += run.clusters;
  return run;
}

Result<Refcounts::Run> Refcounts::take_returned(uint64_t clusters) {
  const auto last = returned_.back();
  uint64_t count = 1;
  // Given back one after the other, in either order.
  while (count < clusters && count < returned_.size() && returned_[returned_.size() - 1 - count] == last - count) {
    ++count;
  }
  const auto first = last - (count - 1);
  const auto place = find(first);
  if (!place) return place.failure();
  auto run = take(first, place.value(), count);
  if (!run) return run;
  // A cached block has fewer than there are: those that were not taken stay.
  const auto taken = run.value().clusters;
  std::erase_if(returned_, [&](uint64_t cluster) { return cluster >= first && cluster < first + taken; });
  return run;
}

int Refcounts::extend_file(uint64_t end) {
  if (end <= file_.size()) return 0;
  if (file_.is_block_device()) return -ENOSPC;
  if (end > kMaximumFileEnd) return -EFBIG;
  return file_.resize(round_up(end, std::max(kGrowth, header_.cluster_bytes())));
}

// Blocks that describe the clusters from `first` on, of which `used` are in use, the blocks themselves among them.
int Refcounts::write_blocks(uint64_t first, uint64_t blocks, uint64_t used) {
  const auto end = (first + used) << header_.cluster_bits;
  if (const int error = extend_file(end); error != 0) return error;
  written_end_ = std::max(written_end_, end);
  std::vector<std::byte> content(header_.cluster_bytes());
  for (uint64_t block = 0; block < blocks; ++block) {
    std::ranges::fill(content, std::byte{0});
    const Place place{content.data(), block == 0 ? first % clusters_of_block() : 0, 0};
    const auto before = block == 0 ? 0 : block * clusters_of_block() - first % clusters_of_block();
    const auto after = (block + 1) * clusters_of_block() - first % clusters_of_block();
    for (auto cluster = before; cluster < std::min(after, used); ++cluster) store(place, cluster - before, 1);
    if (const int error = file_.write((first + block) << header_.cluster_bits, content); error != 0) return error;
  }
  return 0;
}

// The block lies in the first free cluster that it describes.
int Refcounts::add_block(uint64_t cluster) {
  const auto offset = cluster << header_.cluster_bits;
  if (const char* area = areas_.find(offset, header_.cluster_bytes()); area != nullptr) {
    return fault_.report(std::string(area) + " at " + hexadecimal(offset) + " has no refcount");
  }
  if (const int error = write_blocks(cluster, 1, 1); error != 0) return error;
  // What the table refers to must be there.
  if (const int error = file_.sync(); error != 0) return error;
  std::array<std::byte, sizeof(uint64_t)> entry;
  store_big_endian(entry.data(), offset);
  const auto number = cluster / clusters_of_block();
  if (const int error = file_.write(table_offset_ + number * sizeof(uint64_t), entry); error != 0) return error;
  table_[number] = offset;
  areas_.insert({offset, header_.cluster_bytes(), "a refcount block"});
  return 0;
}

// A larger table, behind the blocks that describe it and themselves: from the first cluster that the old one cannot.
int Refcounts::grow_table(uint64_t cluster) {
  const auto first = table_.size() * clusters_of_block();
  const auto entries_of_cluster = header_.cluster_bytes() / sizeof(uint64_t);
  const auto wanted = std::max<uint64_t>(table_.size() * 3 / 2, cluster / clusters_of_block() + 2);
  auto table_clusters = wanted / entries_of_cluster + 1;
  uint64_t blocks = 1;
  while (blocks * clusters_of_block() < blocks + table_clusters) {
    ++blocks;
    table_clusters = std::max(table_clusters, (table_.size() + blocks) / entries_of_cluster + 1);
  }
  if (table_clusters << header_.cluster_bits > kMaximumRefcountTableBytes) return -EFBIG;
  const auto used = blocks + table_clusters;
  const auto offset = first << header_.cluster_bits;
  if (const char* area = areas_.find(offset, used << header_.cluster_bits); area != nullptr) {
    return fault_.report(std::string(area) + " behind " + hexadecimal(offset) + " has no refcount");
  }
  if (const int error = write_blocks(first, blocks, used); error != 0) return error;
  auto table = table_;
  for (uint64_t block = 0; block < blocks; ++block) table.push_back((first + block) << header_.cluster_bits);
  table.resize(table_clusters * entries_of_cluster);
  std::vector<std::byte> bytes(table.size() * sizeof(uint64_t));
  for (size_t number = 0; number < table.size(); ++number) {
    store_big_endian(&bytes[number * sizeof(uint64_t)], table[number]);
  }
  const auto table_offset = (first + blocks) << header_.cluster_bits;
  if (const int error = file_.write(table_offset, bytes); error != 0) return error;
  if (const int error = file_.sync(); error != 0) return error;
  std::array<std::byte, sizeof(uint64_t) + sizeof(uint32_t)> fields;
  store_big_endian(&fields[0], table_offset);
  store_big_endian(&fields[sizeof(uint64_t)], static_cast<uint32_t>(table_clusters));
  if (const int error = file_.write(kRefcountTableOffset, fields); error != 0) return error;
  if (const int error = file_.sync(); error != 0) return error;

  const auto old_clusters = table_.size() / entries_of_cluster;
  areas_.remove(table_offset_);
  for (uint64_t number = 0; number < old_clusters; ++number) {
    abandoned_.push_back(table_offset_ + (number << header_.cluster_bits));
  }
  for (uint64_t block = 0; block < blocks; ++block) {
    areas_.insert({(first + block) << header_.cluster_bits, header_.cluster_bytes(), "a refcount block"});
  }
  areas_.insert({table_offset, table_clusters << header_.cluster_bits, "the refcount table"});
  table_offset_ = table_offset;
  table_ = std::move(table);
  return 0;
}

}  // namespace tsvmm::qcow2
