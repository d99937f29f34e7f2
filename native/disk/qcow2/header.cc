#include "disk/qcow2/header.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <vector>

#include "disk/qcow2/format.h"
#include "sys/byte_order.h"

namespace tsvmm::qcow2 {

namespace {

// Addresses and sizes are exact up to here everywhere.
constexpr uint64_t kMaximumSize = uint64_t{1} << 53;
// From the offset on, everything that is judged here fits.
constexpr uint64_t kMaximumOffset = uint64_t{1} << 56;

ImageError at_field(const char* what, uint64_t value) { return {std::string(what) + " " + std::to_string(value)}; }

// Of a table that begins at a cluster and lies in the file.
ImageResult<> check_place(const ImageFile& file, const Header& header, const char* name, uint64_t offset,
                          uint64_t length) {
  const bool aligned = offset % header.cluster_bytes() == 0 && offset != 0;
  if (aligned && offset < kMaximumOffset && offset <= file.size() && length <= file.size() - offset) return Unit{};
  return ImageError{std::string(name) + " at " + hexadecimal(offset) + " (" + std::to_string(length) + " bytes) is " +
                    (aligned ? "behind the end of the file" : "not at the start of a cluster")};
}

std::optional<ImageError> unsupported(uint64_t features, bool writable) {
  if ((features & kFeatureDataFile) != 0) return ImageError{"keeps its data in another file, which is not supported"};
  if ((features & kFeatureExtendedL2) != 0) return ImageError{"has extended L2 entries, which are not supported"};
  const auto known = kFeatureDirty | kFeatureCorrupt | kFeatureCompressionType;
  if ((features & ~known) != 0) {
    return ImageError{"has incompatible features that are not known: " + hexadecimal(features & ~known)};
  }
  if (!writable) return {};
  const char* remedy = "; repair it with qemu-img check -r all, or open it readonly=on";
  if ((features & kFeatureCorrupt) != 0) return ImageError{std::string("is marked as corrupt") + remedy};
  if ((features & kFeatureDirty) != 0) {
    return ImageError{std::string("was not closed by its last writer, its refcounts are outdated") + remedy};
  }
  return {};
}

// Extensions follow the header, each {u32 type, u32 length, bytes, padded to 8}, up to the name of the backing file.
ImageResult<> read_extensions(std::span<const std::byte> cluster, size_t offset, Header& header) {
  const auto name = load_big_endian<uint64_t>(&cluster[kBackingFileOffset]);
  if (name >= offset && name < cluster.size()) cluster = cluster.first(name);
  while (offset + 8 <= cluster.size()) {
    const auto type = load_big_endian<uint32_t>(&cluster[offset]);
    const auto length = load_big_endian<uint32_t>(&cluster[offset + 4]);
    if (type == kExtensionEnd) return Unit{};
    if (length > cluster.size() - offset - 8) {
      return ImageError{"a header extension at " + hexadecimal(offset) + " is longer than the first cluster"};
    }
    if (type == kExtensionBackingFormat) {
      header.backing_format.assign(reinterpret_cast<const char*>(&cluster[offset + 8]), length);
    }
    offset += 8 + (size_t{length} + 7) / 8 * 8;
  }
  return Unit{};
}

ImageResult<> read_backing_file(std::span<const std::byte> cluster, Header& header) {
  const auto offset = load_big_endian<uint64_t>(&cluster[kBackingFileOffset]);
  const auto length = load_big_endian<uint32_t>(&cluster[kBackingFileSize]);
  if (offset == 0 || length == 0) return Unit{};
  if (length > kMaximumBackingFileName || offset > cluster.size() || length > cluster.size() - offset) {
    return ImageError{"the name of its backing file (" + std::to_string(length) + " bytes at " + hexadecimal(offset) +
                      ") is too long or outside the first cluster"};
  }
  header.backing_file.assign(reinterpret_cast<const char*>(&cluster[offset]), length);
  return Unit{};
}

ImageResult<> check_sizes(const ImageFile& file, const Header& header) {
  if (header.size > kMaximumSize) return at_field("is absurdly large:", header.size);
  const auto needed = (header.size + header.bytes_of_l2() - 1) / header.bytes_of_l2();
  const auto l1_bytes = header.l1_entries * sizeof(uint64_t);
  if (l1_bytes > kMaximumL1Bytes) return at_field("the L1 table is too large: its entries are", header.l1_entries);
  if (header.l1_entries < needed) {
    return ImageError{"the L1 table has " + std::to_string(header.l1_entries) + " entries, the disk needs " +
                      std::to_string(needed)};
  }
  if (header.refcount_order > kMaximumRefcountOrder) return at_field("its refcount order is", header.refcount_order);
  const auto refcount_bytes = uint64_t{header.refcount_table_clusters} << header.cluster_bits;
  if (refcount_bytes == 0 || refcount_bytes > kMaximumRefcountTableBytes) {
    return at_field("the refcount table's clusters are", header.refcount_table_clusters);
  }
  if (header.l1_entries != 0) {
    if (auto place = check_place(file, header, "the L1 table", header.l1_offset, l1_bytes); !place) return place;
  }
  return check_place(file, header, "the refcount table", header.refcount_table_offset, refcount_bytes);
}

}  // namespace

ImageResult<Header> read_header(const ImageFile& file, bool writable) {
  std::array<std::byte, kCompressionType + 8> fixed;
  if (const int error = file.read(0, fixed); error != 0) return host_error("read", 0, error);
  const auto u32 = [&](uint32_t offset) { return load_big_endian<uint32_t>(&fixed[offset]); };
  const auto u64 = [&](uint32_t offset) { return load_big_endian<uint64_t>(&fixed[offset]); };
  if (u32(0) != kMagic) return ImageError{"is no qcow2 image"};
  Header header;
  header.version = u32(kVersion);
  if (header.version != 2 && header.version != 3) return at_field("is of a version that is not known:", header.version);
  header.cluster_bits = u32(kClusterBits);
  if (header.cluster_bits < kMinimumClusterBits || header.cluster_bits > kMaximumClusterBits) {
    return at_field("its cluster bits are", header.cluster_bits);
  }
  if (u32(kCryptMethod) != 0) return ImageError{"is encrypted, which is not supported"};
  header.size = u64(kSize) / 512 * 512;
  header.l1_offset = u64(kL1TableOffset);
  header.l1_entries = u32(kL1Size);
  header.refcount_table_offset = u64(kRefcountTableOffset);
  header.refcount_table_clusters = u32(kRefcountTableClusters);
  header.snapshots = u32(kSnapshotCount);
  header.snapshots_offset = u64(kSnapshotsOffset);
  size_t length = kVersion2Length;
  if (header.version >= 3) {
    const auto features = u64(kIncompatibleFeatures);
    if (auto reason = unsupported(features, writable)) return *reason;
    header.autoclear_features = u64(kAutoclearFeatures);
    header.refcount_order = u32(kRefcountOrder);
    length = u32(kHeaderLength);
    if (length < kVersion3Length || length > header.cluster_bytes() || length % 8 != 0) {
      return at_field("its header's length is", length);
    }
    const auto type = length > kCompressionType ? std::to_integer<unsigned>(fixed[kCompressionType]) : 0u;
    if (type > 1 || (type == 1) != ((features & kFeatureCompressionType) != 0)) {
      return at_field("is compressed in a way that is not known:", type);
    }
    header.compression = static_cast<Compression>(type);
  }
  if (auto sizes = check_sizes(file, header); !sizes) return sizes.failure();
  std::vector<std::byte> cluster(header.cluster_bytes());
  if (const int error = file.read(0, cluster); error != 0) return host_error("read", 0, error);
  if (auto backing = read_backing_file(cluster, header); !backing) return backing.failure();
  if (auto extensions = read_extensions(cluster, length, header); !extensions) return extensions.failure();
  return header;
}

namespace {

// Tables have their clusters to themselves.
uint64_t whole_clusters(const Header& header, uint64_t bytes) {
  return (bytes + header.cluster_bytes() - 1) >> header.cluster_bits << header.cluster_bits;
}

ImageResult<> add_snapshot_areas(const ImageFile& file, const Header& header, FileAreas& areas) {
  if (header.snapshots == 0) return Unit{};
  if (header.snapshots > kMaximumSnapshots) return at_field("has too many snapshots:", header.snapshots);
  uint64_t length = 0;
  for (uint32_t number = 0; number < header.snapshots; ++number) {
    std::array<std::byte, kSnapshotEntryLength> entry;
    const auto offset = header.snapshots_offset + length;
    if (const int error = file.read(offset, entry); error != 0) return host_error("read", offset, error);
    const auto l1_offset = load_big_endian<uint64_t>(&entry[kSnapshotL1TableOffset]);
    const auto l1_bytes = load_big_endian<uint32_t>(&entry[kSnapshotL1Size]) * uint64_t{sizeof(uint64_t)};
    length += kSnapshotEntryLength + load_big_endian<uint32_t>(&entry[kSnapshotExtraSize]) +
              load_big_endian<uint16_t>(&entry[kSnapshotIdSize]) + load_big_endian<uint16_t>(&entry[kSnapshotNameSize]);
    length = (length + 7) / 8 * 8;
    if (length > kMaximumSnapshotTableBytes || l1_bytes > kMaximumL1Bytes) {
      return ImageError{"snapshot " + std::to_string(number) + " at " + hexadecimal(offset) + " is too large"};
    }
    if (l1_bytes == 0) continue;
    auto place = check_place(file, header, "a snapshot's L1 table", l1_offset, l1_bytes);
    if (!place) return place;
    areas.add({l1_offset, whole_clusters(header, l1_bytes), "a snapshot's L1 table"});
  }
  areas.add({header.snapshots_offset, whole_clusters(header, length), "the snapshot table"});
  return Unit{};
}

}  // namespace

ImageResult<> add_areas(const ImageFile& file, const Header& header, FileAreas& areas) {
  areas.add({0, header.cluster_bytes(), "the header"});
  if (header.l1_entries != 0) {
    areas.add({header.l1_offset, whole_clusters(header, header.l1_entries * sizeof(uint64_t)), "the L1 table"});
  }
  areas.add({header.refcount_table_offset, uint64_t{header.refcount_table_clusters} << header.cluster_bits,
             "the refcount table"});
  if (header.snapshots != 0) {
    auto place = check_place(file, header, "the snapshot table", header.snapshots_offset, kSnapshotEntryLength);
    if (!place) return place;
  }
  return add_snapshot_areas(file, header, areas);
}

}  // namespace tsvmm::qcow2
