#include "disk/vhdx/layout.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sys/byte_order.h"
#include "sys/crc32c.h"

namespace tsvmm::vhdx {

namespace {

constexpr uint16_t kVersion = 1;

Guid guid_at(std::span<const std::byte> bytes, size_t offset) {
  Guid guid;
  std::memcpy(guid.data(), &bytes[offset], guid.size());
  return guid;
}

bool has_checksum(std::span<const std::byte> bytes) {
  std::vector<std::byte> copy(bytes.begin(), bytes.end());
  const auto checksum = load_little_endian<uint32_t>(&copy[kChecksum]);
  store_little_endian<uint32_t>(&copy[kChecksum], 0);
  return crc32c(copy) == checksum;
}

std::optional<Header> parse_header(std::span<const std::byte> bytes, size_t place) {
  const bool is_one = load_little_endian<uint32_t>(&bytes[0]) == kHeaderSignature && has_checksum(bytes) &&
                      load_little_endian<uint16_t>(&bytes[kHeaderVersion]) == kVersion;
  if (!is_one) return {};
  return Header{.sequence = load_little_endian<uint64_t>(&bytes[kHeaderSequence]),
                .place = place,
                .file_write_guid = guid_at(bytes, kHeaderFileWriteGuid),
                .data_write_guid = guid_at(bytes, kHeaderDataWriteGuid),
                .log_guid = guid_at(bytes, kHeaderLogGuid),
                .log_offset = load_little_endian<uint64_t>(&bytes[kHeaderLogOffset]),
                .log_length = load_little_endian<uint32_t>(&bytes[kHeaderLogLength])};
}

// Regions and the log are of whole MiB, behind the first, which is the headers'.
ImageResult<> check_place(const ImageFile& file, const char* name, uint64_t offset, uint64_t length) {
  const bool aligned = offset % kMebibyte == 0 && length % kMebibyte == 0 && offset != 0 && length != 0;
  if (aligned && offset <= file.size() && length <= file.size() - offset) return Unit{};
  return ImageError{std::string(name) + " at " + hexadecimal(offset) + " (" + std::to_string(length) + " bytes) is " +
                    (aligned ? "behind the end of the file" : "not of whole MiB")};
}

struct Region {
  uint64_t offset;
  uint64_t length;
};

struct Regions {
  std::optional<Region> bat;
  std::optional<Region> metadata;
};

ImageResult<Regions> parse_regions(std::span<const std::byte> table) {
  Regions regions;
  const auto count = load_little_endian<uint32_t>(&table[kRegionCount]);
  if (count > kMaximumRegions) return ImageError{"its region table has too many entries: " + std::to_string(count)};
  for (uint32_t number = 0; number < count; ++number) {
    const auto entry = table.subspan(kRegionEntries + number * kRegionEntryLength, kRegionEntryLength);
    const auto guid = guid_at(entry, 0);
    const Region region{load_little_endian<uint64_t>(&entry[16]), load_little_endian<uint32_t>(&entry[24])};
    const bool required = (load_little_endian<uint32_t>(&entry[28]) & 1) != 0;
    auto* known = guid == kBatRegion ? &regions.bat : guid == kMetadataRegion ? &regions.metadata : nullptr;
    if (known == nullptr && !required) continue;
    if (known == nullptr) return ImageError{"needs a region that is not known"};
    if (*known) return ImageError{"has a region twice"};
    *known = region;
  }
  if (!regions.bat || !regions.metadata) return ImageError{"has no block allocation table, or no metadata"};
  return regions;
}

ImageResult<Regions> read_regions(const ImageFile& file) {
  std::vector<std::byte> table(kRegionTableLength);
  for (const auto offset : kRegionTableOffsets) {
    if (const int error = file.read(offset, table); error != 0) return host_error("read", offset, error);
    const bool is_one = load_little_endian<uint32_t>(table.data()) == kRegionTableSignature && has_checksum(table);
    if (is_one) return parse_regions(table);
  }
  return ImageError{"neither of its region tables is intact"};
}

// The items that a disk has. Bytes of each, as far as they are there.
struct Items {
  std::optional<std::array<std::byte, 8>> file_parameters;
  std::optional<std::array<std::byte, 8>> disk_size;
  std::optional<std::array<std::byte, 8>> logical_sector;
};

ImageResult<Items> read_items(const ImageFile& file, const Region& region) {
  std::vector<std::byte> table(kMetadataTableLength);
  if (const int error = file.read(region.offset, table); error != 0) return host_error("read", region.offset, error);
  const auto count = load_little_endian<uint16_t>(&table[kMetadataCount]);
  if (load_little_endian<uint64_t>(table.data()) != kMetadataSignature || count > kMaximumMetadataItems) {
    return ImageError{"its metadata at " + hexadecimal(region.offset) + " is damaged"};
  }
  Items items;
  for (uint16_t number = 0; number < count; ++number) {
    const auto entry = std::span(table).subspan(kMetadataEntries + number * kMetadataEntryLength, kMetadataEntryLength);
    const auto guid = guid_at(entry, 0);
    const auto offset = load_little_endian<uint32_t>(&entry[16]);
    auto* known = guid == kFileParameters      ? &items.file_parameters
                  : guid == kDiskSize          ? &items.disk_size
                  : guid == kLogicalSectorSize ? &items.logical_sector
                                               : nullptr;
    const bool is_needed = (load_little_endian<uint32_t>(&entry[24]) & kItemIsRequired) != 0;
    const bool is_ignored = guid == kPage83Data || guid == kPhysicalSectorSize || !is_needed;
    if (known == nullptr && !is_ignored) return ImageError{"has metadata that must be understood and is not known"};
    if (known == nullptr) continue;
    auto& bytes = known->emplace();
    if (offset > region.length - bytes.size()) {
      return ImageError{"an item of its metadata at " + hexadecimal(region.offset + offset) + " is outside of them"};
    }
    const int error = file.read(region.offset + offset, bytes);
    if (error != 0) return host_error("read", region.offset + offset, error);
  }
  if (!items.file_parameters || !items.disk_size || !items.logical_sector) {
    return ImageError{"its metadata says no block size, disk size or sector size"};
  }
  return items;
}

ImageResult<Layout> layout_of(const Items& items, const Region& bat) {
  const auto flags = load_little_endian<uint32_t>(&(*items.file_parameters)[4]);
  if ((flags & kHasParent) != 0) return ImageError{"is a differencing image, which is not supported"};
  Layout layout{.size = load_little_endian<uint64_t>(items.disk_size->data()),
                .block_bytes = load_little_endian<uint32_t>(items.file_parameters->data()),
                .logical_sector = load_little_endian<uint32_t>(items.logical_sector->data()),
                .bat_offset = bat.offset,
                .bat_length = bat.length};
  const auto block = layout.block_bytes;
  if (block < kMebibyte || block > kMaximumBlockSize || !std::has_single_bit(block)) {
    return ImageError{"its block size is " + std::to_string(block)};
  }
  if (layout.logical_sector != 512 && layout.logical_sector != 4096) {
    return ImageError{"its sector size is " + std::to_string(layout.logical_sector)};
  }
  if (layout.size == 0 || layout.size > kMaximumDiskSize || layout.size % layout.logical_sector != 0) {
    return ImageError{"its disk size is " + std::to_string(layout.size)};
  }
  const auto needed = layout.entry_offset(layout.blocks() - 1) + sizeof(uint64_t) - bat.offset;
  if (needed > bat.length) {
    return ImageError{"its block allocation table has " + std::to_string(bat.length) + " bytes, the disk needs " +
                      std::to_string(needed)};
  }
  return layout;
}

}  // namespace

ImageResult<Header> read_header(const ImageFile& file) {
  std::array<std::byte, 8> signature;
  if (const int error = file.read(0, signature); error != 0) return host_error("read", 0, error);
  if (load_little_endian<uint64_t>(signature.data()) != kFileSignature) return ImageError{"is no VHDX image"};
  std::optional<Header> newest;
  for (size_t place = 0; place < kHeaderOffsets.size(); ++place) {
    std::array<std::byte, kHeaderLength> bytes;
    const auto offset = kHeaderOffsets[place];
    if (const int error = file.read(offset, bytes); error != 0) return host_error("read", offset, error);
    const auto header = parse_header(bytes, place);
    if (header && (!newest || header->sequence > newest->sequence)) newest = header;
  }
  if (!newest) return ImageError{"neither of its headers is intact"};
  auto log = check_place(file, "the log", newest->log_offset, newest->log_length);
  if (!log) return log.failure();
  return *newest;
}

int write_header(ImageFile& file, Header& header) {
  header.place = (header.place + 1) % kHeaderOffsets.size();
  ++header.sequence;
  std::array<std::byte, kHeaderLength> bytes{};
  store_little_endian(&bytes[0], kHeaderSignature);
  store_little_endian(&bytes[kHeaderSequence], header.sequence);
  std::memcpy(&bytes[kHeaderFileWriteGuid], header.file_write_guid.data(), header.file_write_guid.size());
  std::memcpy(&bytes[kHeaderDataWriteGuid], header.data_write_guid.data(), header.data_write_guid.size());
  std::memcpy(&bytes[kHeaderLogGuid], header.log_guid.data(), header.log_guid.size());
  store_little_endian(&bytes[kHeaderVersion], kVersion);
  store_little_endian(&bytes[kHeaderLogLength], static_cast<uint32_t>(header.log_length));
  store_little_endian(&bytes[kHeaderLogOffset], header.log_offset);
  store_little_endian(&bytes[kChecksum], crc32c(bytes));
  if (const int error = file.write(kHeaderOffsets[header.place], bytes); error != 0) return error;
  return file.sync();
}

ImageResult<Layout> read_layout(const ImageFile& file, const Header& header, FileAreas& areas) {
  const auto regions = read_regions(file);
  if (!regions) return regions.failure();
  const auto& [bat, metadata] = regions.value();
  auto bat_place = check_place(file, "the block allocation table", bat->offset, bat->length);
  if (!bat_place) return bat_place.failure();
  auto metadata_place = check_place(file, "the metadata", metadata->offset, metadata->length);
  if (!metadata_place) return metadata_place.failure();
  areas.add({0, kMebibyte, "the header"});
  areas.add({header.log_offset, header.log_length, "the log"});
  areas.add({bat->offset, bat->length, "the block allocation table"});
  areas.add({metadata->offset, metadata->length, "the metadata"});
  if (auto checked = areas.check(); !checked) return checked.failure();
  const auto items = read_items(file, *metadata);
  if (!items) return items.failure();
  return layout_of(items.value(), *bat);
}

Guid new_guid() {
  Guid guid{};
  // Random enough also where the kernel has none yet: it only must differ from the last one.
  static_cast<void>(getrandom(guid.data(), guid.size(), 0));
  // Version 4, variant 1 (RFC 4122), so not all zero.
  guid[7] = static_cast<uint8_t>((guid[7] & 0x0f) | 0x40);
  guid[8] = static_cast<uint8_t>((guid[8] & 0x3f) | 0x80);
  return guid;
}

}  // namespace tsvmm::vhdx
