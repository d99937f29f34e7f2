#include "disk/qcow2/image.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "disk/qcow2/decompress.h"
#include "disk/qcow2/format.h"
#include "io/pieces.h"
#include "sys/byte_order.h"

namespace tsvmm::qcow2 {

Image::Image(std::unique_ptr<ImageFile> tables_file, std::unique_ptr<DiskAccess> file, const Header& header)
    : MappedImage(std::move(file)), tables_file_(std::move(tables_file)), header_(header) {}

ImageResult<std::unique_ptr<Image>> Image::open(int fd, DiskOptions options) {
  auto file = open_image_file(fd);
  if (!file) return host_error(file.failure().operation, 0, file.failure().error);
  return open(fd, std::move(file).value(), options);
}

ImageResult<std::unique_ptr<Image>> Image::open(int fd, std::unique_ptr<ImageFile> file, DiskOptions options) {
  const auto header = read_header(*file, !options.read_only);
  if (!header) return header.failure();
  if (options.alignment > header.value().cluster_bytes()) {
    return ImageError{"direct=on needs clusters of at least " + std::to_string(options.alignment) + " bytes, it has " +
                      std::to_string(header.value().cluster_bytes())};
  }
  options.size = header.value().size;
  auto data = DiskAccess::create(fd, options);
  if (!data) return host_error(data.failure().operation, 0, data.failure().error);
  std::unique_ptr<Image> image(new Image(std::move(file), std::move(data).value(), header.value()));
  if (auto tables = image->read_tables(); !tables) return tables.failure();
  return image;
}

ImageResult<> Image::read_tables() {
  if (auto areas = add_areas(*tables_file_, header_, areas_); !areas) return areas;
  auto table = ClusterTable::open(*tables_file_, header_, areas_, fault_);
  if (!table) return table.failure();
  table_ = std::move(table).value();
  auto refcounts = Refcounts::open(*tables_file_, header_, areas_, fault_);
  if (!refcounts) return refcounts.failure();
  refcounts_ = std::move(refcounts).value();
  if (auto areas = areas_.check(); !areas) return areas;
  if (file().options().read_only || header_.autoclear_features == 0) return Unit{};
  // What these stand for, as bitmaps of changed sectors, is not kept up to date here: others must know that.
  const std::array<std::byte, sizeof(uint64_t)> none{};
  int error = tables_file_->write(kAutoclearFeatures, none);
  if (error == 0) error = tables_file_->sync();
  if (error != 0) return host_error("write the header", kAutoclearFeatures, error);
  return Unit{};
}

DiskImage::Extent Image::map(uint64_t offset, uint64_t length, Use use) {
  const auto first = offset >> header_.cluster_bits;
  const auto inside = offset % cluster_bytes();
  std::unique_lock lock(map_);
  const auto found = table_->find(first);
  const bool is_usable = found && (use == Use::kWrite ? found->is_writable() : !found->is_compressed());
  if (!is_usable) return {.length = length};
  auto bytes = cluster_bytes() - inside;
  for (uint64_t distance = 1; bytes < length; ++distance, bytes += cluster_bytes()) {
    const auto entry = table_->find(first + distance);
    if (!entry || !continues(*found, *entry, distance, use)) break;
  }
  bytes = std::min(bytes, length);
  if (!found->is_plain()) {
    lock.unlock();
    if (reads_as_zero(*found)) return {.kind = Extent::Kind::kZero, .length = bytes};
    return map_absent(offset, bytes);
  }
  const auto place = found->offset() + inside;
  // Neither a file that ends in its last cluster nor tables that have come to lie where there were data are for this.
  const bool is_other = use == Use::kRead ? place + bytes > tables_file_->size() : areas_.find(place, bytes) != nullptr;
  if (is_other) return {.length = length};
  return {.kind = Extent::Kind::kFile, .offset = place, .length = bytes, .file = &file(), .claim = grace_.enter()};
}

bool Image::continues(Entry first, Entry entry, uint64_t distance, Use use) const {
  if (first.is_plain()) {
    const bool is_usable = use == Use::kWrite ? entry.is_writable() : entry.is_plain();
    return is_usable && entry.offset() == first.offset() + (distance << header_.cluster_bits);
  }
  if (reads_as_zero(first)) return reads_as_zero(entry);
  return entry.is_absent();
}

// What only the backing file has. It may be shorter.
DiskImage::Extent Image::map_absent(uint64_t offset, uint64_t length) {
  if (offset >= backing_->size()) return {.kind = Extent::Kind::kZero, .length = length};
  const auto there = std::min(length, backing_->size() - offset);
  auto extent = backing_->map(offset, there, Use::kRead);
  if (extent.kind == Extent::Kind::kOther) extent.length = length;
  return extent;
}

// Brings the entry of a cluster into memory.
int Image::load(uint64_t cluster) {
  return MappedImage::load(
      map_, table_->cache(),
      {.is_there = [&] { return table_->find(cluster).has_value(); },
       .start = [&] { return table_->block_of(cluster); },
       .read = [&](uint64_t start, std::vector<std::byte>& bytes) { return table_->read_block(start, bytes); }});
}

// At most to the end of a cluster.
Result<uint64_t> Image::read_other(uint64_t offset, std::span<const iovec> pieces) {
  const auto cluster = offset >> header_.cluster_bits;
  std::optional<Entry> entry;
  GracePeriod::Claim claim;
  {
    std::lock_guard lock(map_);
    entry = table_->find(cluster);
    claim = grace_.enter();
  }
  if (!entry) {
    const int error = load(cluster);
    return error == 0 ? Result<uint64_t>(0) : Failure{-error, "read an L2 table"};
  }
  auto bytes = std::min<uint64_t>(bytes_of(pieces), cluster_bytes() - offset % cluster_bytes());
  const bool is_backed = entry->is_absent() && backing_ && offset < backing_->size();
  if (is_backed) bytes = std::min(bytes, backing_->size() - offset);
  std::vector<iovec> part;
  add_part(part, pieces, 0, bytes);
  int error = 0;
  if (entry->is_compressed()) {
    error = read_compressed(*entry, offset, part);
  } else if (entry->is_plain()) {
    std::vector<std::byte> copy(bytes);
    error = tables_file_->read(entry->offset() + offset % cluster_bytes(), copy);
    copy_to_pieces(part, 0, copy.data(), bytes);
  } else if (is_backed) {
    error = backing_->read(offset, part);
  } else {
    bytes = 0;
  }
  if (error != 0) return Failure{-error, "read"};
  return bytes;
}

int Image::read_compressed(Entry entry, uint64_t offset, std::span<const iovec> pieces) {
  const auto [place, length] = compressed_place(entry, header_);
  std::vector<std::byte> data(length);
  if (const int error = tables_file_->read(place, data); error != 0) return error;
  std::vector<std::byte> cluster(cluster_bytes());
  if (!decompress(header_.compression, data, cluster)) {
    return fault_.report("the compressed cluster at " + hexadecimal(place) + " is damaged");
  }
  const auto inside = offset % cluster_bytes();
  copy_to_pieces(pieces, 0, cluster.data() + inside, cluster.size() - inside);
  return 0;
}

}  // namespace tsvmm::qcow2
