#include "disk/vhdx/image.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "disk/vhdx/format.h"
#include "io/pieces.h"
#include "sys/byte_order.h"

namespace tsvmm::vhdx {

namespace {

constexpr uint32_t kCachedBytes = kLogSector;
// The entries of a disk of 64 TiB with blocks of 32 MiB.
constexpr size_t kCacheBytes = 16u << 20;

uint64_t offset_of(uint64_t entry) { return entry & ~(kMebibyte - 1); }
uint64_t state_of(uint64_t entry) { return entry & kBlockState; }

}  // namespace

Image::Image(Parts parts)
    : MappedImage(std::move(parts.file)),
      tables_file_(std::move(parts.tables_file)),
      layout_(parts.layout),
      areas_(std::move(parts.areas)),
      log_(*tables_file_, parts.header),
      bat_(kCachedBytes, kCacheBytes / kCachedBytes) {}

ImageResult<std::unique_ptr<Image>> Image::open(int fd, DiskOptions options) {
  auto file = open_image_file(fd);
  if (!file) return host_error(file.failure().operation, 0, file.failure().error);
  return open(fd, std::move(file).value(), options);
}

ImageResult<std::unique_ptr<Image>> Image::open(int fd, std::unique_ptr<ImageFile> file, DiskOptions options) {
  if (file->is_block_device()) return ImageError{"must be a regular file to be a VHDX image"};
  auto header = read_header(*file);
  if (!header) return header.failure();
  const auto replay = LogReplay::read(*file, header.value());
  if (!replay) return replay.failure();
  if (!replay.value().is_empty()) {
    if (options.read_only) return ImageError{"has changes in its log that must be carried out: open it for writing"};
    if (auto done = replay.value().carry_out(*file); !done) return done.failure();
  }
  auto areas = std::make_unique<FileAreas>();
  const auto layout = read_layout(*file, header.value(), *areas);
  if (!layout) return layout.failure();
  if (!options.read_only) {
    // Others know by these that it is not what it was.
    header.value().file_write_guid = new_guid();
    header.value().data_write_guid = new_guid();
    header.value().log_guid = {};
    const int error = write_header(*file, header.value());
    if (error != 0) return host_error("write the header", kHeaderOffsets[header.value().place], error);
  }
  options.size = layout.value().size;
  auto data = DiskAccess::create(fd, options);
  if (!data) return host_error(data.failure().operation, 0, data.failure().error);
  return std::unique_ptr<Image>(new Image({.tables_file = std::move(file),
                                           .file = std::move(data).value(),
                                           .header = header.value(),
                                           .layout = layout.value(),
                                           .areas = std::move(areas)}));
}

Image::~Image() { Image::settle(); }

// Under map_. The entry of a payload block; nothing where it is not in memory.
std::optional<uint64_t> Image::find(uint64_t block) {
  const auto* bytes = bat_.find(layout_.entry_offset(block));
  if (bytes == nullptr) return {};
  return load_little_endian<uint64_t>(bytes);
}

DiskImage::Extent Image::map(uint64_t offset, uint64_t length, Use use) {
  const auto first = offset / layout_.block_bytes;
  const auto inside = offset % layout_.block_bytes;
  std::lock_guard lock(map_);
  const auto found = find(first);
  if (!found) return {.length = length};
  const bool is_present = state_of(*found) == kFullyPresent;
  const bool is_other = use == Use::kWrite ? !is_present : state_of(*found) == kPartiallyPresent;
  if (is_other) return {.length = length};
  auto bytes = layout_.block_bytes - inside;
  for (uint64_t distance = 1; bytes < length; ++distance, bytes += layout_.block_bytes) {
    const auto next = find(first + distance);
    const auto wanted = *found + (is_present ? distance * layout_.block_bytes : 0);
    if (!next || (is_present ? *next != wanted : state_of(*next) >= kFullyPresent)) break;
  }
  bytes = std::min(bytes, length);
  if (!is_present) return {.kind = Extent::Kind::kZero, .length = bytes};
  const auto place = offset_of(*found) + inside;
  // The last block may be shorter in the file than it is for the disk.
  if (use == Use::kRead && place + bytes > tables_file_->size()) return {.length = length};
  return {.kind = Extent::Kind::kFile, .offset = place, .length = bytes, .file = &file()};
}

int Image::load(uint64_t block) {
  return MappedImage::load(
      map_, bat_,
      {.is_there = [&] { return find(block).has_value(); },
       .start = [&] { return bat_.start_of(layout_.entry_offset(block)); },
       .read = [&](uint64_t start, std::vector<std::byte>& bytes) { return read_block(start, bytes); }});
}

int Image::read_block(uint64_t start, std::vector<std::byte>& bytes) {
  if (const int error = tables_file_->read(start, bytes); error != 0) return error;
  const auto of_chunk = layout_.chunk_ratio() + 1;
  for (size_t offset = 0; offset < bytes.size(); offset += sizeof(uint64_t)) {
    const auto number = (start - layout_.bat_offset + offset) / sizeof(uint64_t);
    // Sector bitmaps are of differencing images.
    if (number % of_chunk == of_chunk - 1 || number - number / of_chunk >= layout_.blocks()) continue;
    const auto entry = load_little_endian<uint64_t>(&bytes[offset]);
    if (const int error = judge(entry, start + offset); error != 0) return error;
  }
  return 0;
}

int Image::judge(uint64_t entry, uint64_t place) {
  const auto wrong = [&](const std::string& what) {
    return fault_.report("the block allocation table's entry at " + hexadecimal(place) + " (" + hexadecimal(entry) +
                         ") " + what);
  };
  if (state_of(entry) == kPartiallyPresent) return wrong("is of a differencing image");
  if (state_of(entry) != kFullyPresent) return 0;
  if ((entry & kBlockReserved) != 0) return wrong("has bits that are reserved");
  // Only what nothing is added to may end before its last block does.
  const auto end = offset_of(entry) + (file().options().read_only ? 0 : layout_.block_bytes - 1);
  if (end >= tables_file_->size()) return wrong("is behind the end of the file");
  const char* area = areas_->find(offset_of(entry), layout_.block_bytes);
  return area == nullptr ? 0 : wrong(std::string("is in ") + area);
}

// At most to the end of a block.
Result<uint64_t> Image::read_other(uint64_t offset, std::span<const iovec> pieces) {
  const auto block = offset / layout_.block_bytes;
  if (const int error = load(block); error != 0) return Failure{-error, "read the block allocation table"};
  const auto inside = offset % layout_.block_bytes;
  uint64_t entry = 0;
  {
    std::lock_guard lock(map_);
    entry = find(block).value_or(0);
  }
  const auto bytes = std::min<uint64_t>({bytes_of(pieces), layout_.block_bytes - inside, kMebibyte});
  const auto place = offset_of(entry) + inside;
  if (state_of(entry) != kFullyPresent || place + bytes_of(pieces) <= tables_file_->size()) return uint64_t{0};
  std::vector<std::byte> copy(bytes);
  if (const int error = tables_file_->read(place, copy); error != 0) return Failure{-error, "read"};
  copy_to_pieces(pieces, 0, copy.data(), bytes);
  return bytes;
}

// Gives the block a place at the end of the file, where nothing was written before: it is zero.
Result<uint64_t> Image::write_other(uint64_t offset, std::span<const iovec> /*pieces*/) {
  bool is_crowded = false;
  {
    std::lock_guard lock(map_);
    is_crowded = bat_.is_crowded();
  }
  if (is_crowded) {
    if (const int error = write_back(false); error != 0) return Failure{-error, "write tables"};
  }
  const auto block = offset / layout_.block_bytes;
  std::lock_guard lock(metadata_);
  if (const int error = load(block); error != 0) return Failure{-error, "read the block allocation table"};
  std::lock_guard map_lock(map_);
  const auto entry = find(block);
  if (!entry || state_of(*entry) == kFullyPresent) return uint64_t{0};
  const auto place = (tables_file_->size() + kMebibyte - 1) / kMebibyte * kMebibyte;
  const int error = tables_file_->resize(place + layout_.block_bytes);
  if (error != 0) return Failure{-error, "extend the file"};
  const auto entry_offset = layout_.entry_offset(block);
  store_little_endian(bat_.find(entry_offset), place | kFullyPresent);
  bat_.mark_changed(entry_offset);
  return uint64_t{0};
}

int Image::discard(uint64_t offset, uint64_t length) {
  if (!file().options().sparse) return 0;
  const int error = clear(offset, length, true);
  return error == -EOPNOTSUPP ? 0 : error;
}

int Image::write_zeroes(uint64_t offset, uint64_t length, bool unmap) {
  const int error = clear(offset, length, unmap && file().options().sparse);
  return error == -EOPNOTSUPP ? write_zero_bytes(offset, length) : error;
}

// Blocks keep their places.
int Image::clear(uint64_t offset, uint64_t length, bool gives_back) {
  while (length != 0) {
    const auto extent = map(offset, length, Use::kRead);
    auto bytes = extent.length;
    if (extent.kind == Extent::Kind::kFile) {
      const auto held = file().hold(extent.offset, bytes);
      if (const int error = tables_file_->clear(extent.offset, bytes, gives_back); error != 0) return error;
    } else if (extent.kind == Extent::Kind::kOther) {
      bytes = 0;
      const auto block = offset / layout_.block_bytes;
      if (const int error = load(block); error != 0) return error;
      // What is not wholly in the file can only be written.
      if (map(offset, length, Use::kRead).kind == Extent::Kind::kOther) return -EOPNOTSUPP;
    }
    offset += bytes;
    length -= bytes;
  }
  return 0;
}

int Image::settle() {
  if (file().options().read_only) return 0;
  if (const int error = write_back(false); error != 0) return error;
  std::lock_guard writing(write_back_);
  return log_.retire();
}

int Image::write_back(bool to_stable_storage) {
  if (file().options().read_only) return 0;
  std::lock_guard writing(write_back_);
  std::vector<TableCache::Copy> changes;
  {
    std::lock_guard lock(map_);
    changes = bat_.take_changes();
  }
  int error = log_.write(changes);
  if (error == 0 && to_stable_storage) error = tables_file_->sync();
  std::lock_guard lock(map_);
  bat_.written(changes, error == 0);
  return error;
}

}  // namespace tsvmm::vhdx
