#include "disk/qcow2/cluster_table.h"

#include <algorithm>
#include <string>

#include "sys/byte_order.h"

namespace tsvmm::qcow2 {

namespace {

// The tables of a disk of 512 GiB with clusters of 64 KiB.
constexpr uint64_t kCacheBytes = 64u << 20;
constexpr uint64_t kSector = 512;

}  // namespace

CompressedPlace compressed_place(Entry entry, const Header& header) {
  // The lower bits are the offset, the ones above count the further sectors.
  const auto bits = 62 - (header.cluster_bits - 8);
  const auto offset = entry.value() & ((uint64_t{1} << bits) - 1);
  const auto sectors = ((entry.value() & ~(kCopied | kCompressed)) >> bits) + 1;
  return {offset, sectors * kSector - offset % kSector};
}

ClusterTable::ClusterTable(const ImageFile& file, const Header& header, FileAreas& areas, ImageFault& fault)
    : file_(file),
      header_(header),
      areas_(areas),
      fault_(fault),
      l1_(header.l1_entries),
      cache_(header.cached_bytes(), kCacheBytes / header.cached_bytes()) {}

ImageResult<std::unique_ptr<ClusterTable>> ClusterTable::open(const ImageFile& file, const Header& header,
                                                              FileAreas& areas, ImageFault& fault) {
  std::unique_ptr<ClusterTable> table(new ClusterTable(file, header, areas, fault));
  std::vector<std::byte> bytes(header.l1_entries * sizeof(uint64_t));
  if (const int error = file.read(header.l1_offset, bytes); error != 0) {
    return host_error("read the L1 table", header.l1_offset, error);
  }
  for (size_t number = 0; number < table->l1_.size(); ++number) {
    const auto value = table->l1_[number] = load_big_endian<uint64_t>(&bytes[number * sizeof(uint64_t)]);
    if (value == 0) continue;
    const auto offset = value & kOffsetMask;
    const bool in_file = offset != 0 && offset < file.size() && header.cluster_bytes() <= file.size() - offset;
    if ((value & kL1Reserved) != 0 || offset % header.cluster_bytes() != 0 || !in_file) {
      return ImageError{"entry " + std::to_string(number) + " of the L1 table at " + hexadecimal(header.l1_offset) +
                        " is " + hexadecimal(value) + ", which is not a cluster of the file"};
    }
    areas.add({offset, header.cluster_bytes(), "an L2 table"});
  }
  return table;
}

uint64_t ClusterTable::place_of(uint64_t cluster) const {
  const auto table = table_of(cluster) & kOffsetMask;
  return table == 0 ? 0 : table + cluster % header_.l2_entries() * sizeof(uint64_t);
}

std::optional<Entry> ClusterTable::find(uint64_t cluster) {
  const auto place = place_of(cluster);
  if (place == 0) return Entry();
  const auto* bytes = cache_.find(place);
  if (bytes == nullptr) return {};
  return Entry(load_big_endian<uint64_t>(bytes));
}

void ClusterTable::set(uint64_t cluster, Entry entry) {
  const auto place = place_of(cluster);
  store_big_endian(cache_.find(place), entry.value());
  cache_.mark_changed(place);
}

void ClusterTable::set_table(uint64_t cluster, uint64_t value) {
  const auto number = cluster / header_.l2_entries();
  l1_[number] = value;
  if (std::ranges::find(changed_l1_, number) == changed_l1_.end()) changed_l1_.push_back(number);
}

uint64_t ClusterTable::block_of(uint64_t cluster) const { return cache_.start_of(place_of(cluster)); }

int ClusterTable::read_block(uint64_t start, std::vector<std::byte>& bytes) const {
  if (const int error = file_.read(start, bytes); error != 0) return error;
  for (size_t offset = 0; offset < bytes.size(); offset += sizeof(uint64_t)) {
    const Entry entry(load_big_endian<uint64_t>(&bytes[offset]));
    if (entry.value() == 0) continue;
    if (const int error = judge(entry, start + offset); error != 0) return error;
  }
  return 0;
}

// Whether what an entry refers to can be: a cluster of the file, and not a table.
int ClusterTable::judge(Entry entry, uint64_t place) const {
  const auto wrong = [&](const std::string& what) {
    return fault_.report("the L2 entry at " + hexadecimal(place) + " (" + hexadecimal(entry.value()) + ") " + what);
  };
  if (entry.is_compressed()) {
    const auto [offset, length] = compressed_place(entry, header_);
    if ((entry.value() & kCopied) != 0) return wrong("is both compressed and writable");
    if (offset >= file_.size()) return wrong("is behind the end of the file");
    if (const char* area = areas_.find(offset, length); area != nullptr) return wrong(std::string("is in ") + area);
    return 0;
  }
  const auto reserved = header_.version >= 3 ? kL2Reserved : kL2Reserved | kZero;
  if ((entry.value() & reserved) != 0) return wrong("has bits that are reserved");
  const auto offset = entry.offset();
  if (offset == 0) return (entry.value() & kCopied) == 0 ? 0 : wrong("is writable and has no place");
  if (offset % header_.cluster_bytes() != 0) return wrong("is not at the start of a cluster");
  if (offset >= file_.size()) return wrong("is behind the end of the file");
  if (const char* area = areas_.find(offset, header_.cluster_bytes()); area != nullptr) {
    return wrong(std::string("is ") + area);
  }
  return 0;
}

ClusterTable::Changes ClusterTable::take_changes() {
  Changes changes{cache_.take_changes(), {}};
  for (const auto number : changed_l1_) changes.l1.emplace_back(number, l1_[number]);
  changed_l1_.clear();
  return changes;
}

void ClusterTable::written(const Changes& changes, bool successfully) {
  cache_.written(changes.tables, successfully);
  if (successfully) return;
  for (const auto& [number, value] : changes.l1) {
    if (std::ranges::find(changed_l1_, number) == changed_l1_.end()) changed_l1_.push_back(number);
  }
}

}  // namespace tsvmm::qcow2
