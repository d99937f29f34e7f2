#include "virtio/block_request.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/virtio_blk.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

#include "io/pieces.h"

namespace tsvmm {

namespace {

constexpr uint64_t kSector = 512;
constexpr size_t kHeaderBytes = sizeof(virtio_blk_outhdr);
constexpr size_t kMaximumSegments = 256;
// One bounced step: large requests go through in several.
constexpr size_t kMaximumBounce = 256 * 1024;
constexpr uint64_t kZeroBytes = 64 * 1024;
constexpr size_t kMaximumZeroPieces = 16;

// Aligned for O_DIRECT.
alignas(4096) constexpr std::array<std::byte, kZeroBytes> kZeroes{};

bool in_range(uint64_t sector, uint64_t bytes, uint64_t size) {
  const auto sectors = size / kSector;
  return sector <= sectors && bytes <= (sectors - sector) * kSector;
}

}  // namespace

const char* BlockRequest::parse(const BlockTarget& target, bool write_through) {
  begun_ = Latency::Clock::now();
  operation_ = Operation::kNone;
  status_ = VIRTIO_BLK_S_OK;
  write_through_ = write_through;
  sync_owed_ = false;
  answered_bytes_ = 0;
  length_ = 0;
  left_ = 0;
  bounced_bytes_ = 0;
  segments_.clear();
  next_segment_ = 0;
  zeroed_ = 0;
  zero_by_writing_ = false;

  virtio_blk_outhdr header;
  if (copy_from_pieces(chain_.readable(), 0, &header, kHeaderBytes) != kHeaderBytes) {
    return "a block request without a whole header";
  }
  const auto writable = chain_.writable();
  if (writable.empty()) return "a block request without a status byte";
  // The status is the last byte of the writable part, wherever the driver ended a descriptor (§2.7.4.1).
  auto& last = writable.back();
  status_byte_ = static_cast<std::byte*>(last.iov_base) + last.iov_len - 1;
  status_address_ = chain_.ranges.back().address + last.iov_len - 1;
  --last.iov_len;

  switch (header.type) {
    case VIRTIO_BLK_T_IN:
      operation_ = Operation::kRead;
      data_ = last.iov_len == 0 ? writable.first(writable.size() - 1) : writable;
      parse_transfer(target, header.sector, chain_.writable_bytes - 1);
      break;
    case VIRTIO_BLK_T_OUT:
      operation_ = Operation::kWrite;
      data_ = chain_.readable();
      left_ = kHeaderBytes;
      advance(kHeaderBytes);
      parse_transfer(target, header.sector, chain_.readable_bytes - kHeaderBytes);
      break;
    case VIRTIO_BLK_T_FLUSH:
      operation_ = Operation::kFlush;
      sync_owed_ = true;
      break;
    case VIRTIO_BLK_T_GET_ID:
      answer_serial(target);
      break;
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES: {
      const bool discard = header.type == VIRTIO_BLK_T_DISCARD;
      operation_ = discard ? Operation::kDiscard : Operation::kWriteZeroes;
      const auto feature = discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES;
      if ((target.features >> feature & 1) == 0) {
        refuse(VIRTIO_BLK_S_UNSUPP);
      } else {
        parse_segments(target);
      }
      break;
    }
    default:
      refuse(VIRTIO_BLK_S_UNSUPP);
  }
  return nullptr;
}

void BlockRequest::refuse(uint8_t status) {
  status_ = status;
  left_ = 0;
  sync_owed_ = false;
  segments_.clear();
}

void BlockRequest::parse_transfer(const BlockTarget& target, uint64_t sector, uint64_t bytes) {
  if (bytes % kSector != 0 || !in_range(sector, bytes, target.disk->size()) ||
      (is_write() && target.disk->options().read_only)) {
    return refuse(VIRTIO_BLK_S_IOERR);
  }
  offset_ = sector * kSector;
  length_ = bytes;
  left_ = bytes;
  // An image has more to make durable than the data.
  sync_owed_ = target.image != nullptr && is_write() && write_through_;
}

void BlockRequest::answer_serial(const BlockTarget& target) {
  const auto length = std::min<uint64_t>(chain_.writable_bytes - 1, target.serial.size());
  answered_bytes_ = static_cast<uint32_t>(copy_to_pieces(chain_.writable(), 0, target.serial.data(), length));
}

void BlockRequest::parse_segments(const BlockTarget& target) {
  const auto& options = target.disk->options();
  const auto bytes = chain_.readable_bytes - kHeaderBytes;
  const auto count = bytes / sizeof(virtio_blk_discard_write_zeroes);
  if (options.read_only || bytes % sizeof(virtio_blk_discard_write_zeroes) != 0 || count == 0 ||
      count > kMaximumSegments) {
    return refuse(VIRTIO_BLK_S_IOERR);
  }
  std::array<virtio_blk_discard_write_zeroes, kMaximumSegments> copies;
  copy_from_pieces(chain_.readable(), kHeaderBytes, copies.data(), bytes);
  for (const auto& copy : std::span(copies).first(count)) {
    // Unknown flags, and unmap on a discard, are not supported (§5.2.6.2).
    const bool unmap = (copy.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP) != 0;
    if ((copy.flags & ~uint32_t{VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP}) != 0 ||
        (unmap && operation_ == Operation::kDiscard)) {
      return refuse(VIRTIO_BLK_S_UNSUPP);
    }
    const auto length = copy.num_sectors * kSector;
    if (!in_range(copy.sector, length, target.disk->size())) return refuse(VIRTIO_BLK_S_IOERR);
    if (length != 0) segments_.push_back({copy.sector * kSector, length, unmap});
  }
  sync_owed_ = write_through_;
}

BlockRequest::Next BlockRequest::next(const BlockTarget& target) {
  while (status_ == VIRTIO_BLK_S_OK && left_ != 0) {
    const auto next = target.image == nullptr ? next_transfer({target.disk, offset_, left_}) : next_of_image(target);
    if (next) return *next;
  }
  while (status_ == VIRTIO_BLK_S_OK && next_segment_ < segments_.size()) {
    if (target.image != nullptr) return Next::kImage;
    if (const auto next = next_segment(target)) return *next;
  }
  if (status_ != VIRTIO_BLK_S_OK || !sync_owed_) return Next::kDone;
  if (target.image != nullptr) return Next::kImage;
  return host_call({.kind = DiskStep::Kind::kSync, .file = target.disk});
}

BlockRequest::Next BlockRequest::host_call(const DiskStep& step) {
  step_ = step;
  return Next::kHostCall;
}

// None where it was dealt with.
std::optional<BlockRequest::Next> BlockRequest::next_of_image(const BlockTarget& target) {
  const auto use = is_read() ? DiskImage::Use::kRead : DiskImage::Use::kWrite;
  auto extent = target.image->map(offset_, left_, use);
  switch (extent.kind) {
    case DiskImage::Extent::Kind::kFile:
      claim_ = std::move(extent.claim);
      return next_transfer({extent.file, extent.offset, extent.length});
    case DiskImage::Extent::Kind::kZero:
      clear_pieces(data_, 0, extent.length);
      advance(extent.length);
      return {};
    case DiskImage::Extent::Kind::kOther:
      break;
  }
  return Next::kImage;
}

int64_t BlockRequest::carry_out(const BlockTarget& target) {
  auto& image = *target.image;
  int error = 0;
  if (left_ != 0) {
    error = is_read() ? image.read(offset_, data_) : image.write(offset_, data_);
    if (error == 0) return static_cast<int64_t>(left_);
  } else if (next_segment_ < segments_.size()) {
    const auto& [offset, length, unmap] = segments_[next_segment_];
    error =
        operation_ == Operation::kDiscard ? image.discard(offset, length) : image.write_zeroes(offset, length, unmap);
  } else {
    error = image.flush();
  }
  return error == 0 ? 0 : -EIO;
}

std::optional<BlockRequest::Next> BlockRequest::next_transfer(const Place& place) {
  std::span<const iovec> pieces = data_;
  if (place.length < left_) {
    part_.clear();
    add_part(part_, data_, 0, place.length);
    pieces = part_;
  }
  const uint64_t alignment = place.file->options().alignment;
  const auto count = std::min<size_t>(pieces.size(), IOV_MAX);
  uint64_t length = 0;
  uint64_t misaligned = alignment > 1 ? place.offset % alignment : 0;
  for (const auto& piece : pieces.first(count)) {
    length += piece.iov_len;
    if (alignment > 1) misaligned |= (reinterpret_cast<uintptr_t>(piece.iov_base) | piece.iov_len) % alignment;
  }
  if (misaligned != 0) return next_bounced(place);
  return host_call({.kind = is_read() ? DiskStep::Kind::kRead : DiskStep::Kind::kWrite,
                    .file = place.file,
                    .durable = write_through_,
                    .offset = place.offset,
                    .length = length,
                    .pieces = pieces.data(),
                    .count = static_cast<unsigned>(count)});
}

bool BlockRequest::reserve_bounce(uint32_t alignment, size_t bytes) {
  if (bounce_capacity_ >= bytes) return true;
  bounce_.reset(static_cast<std::byte*>(std::aligned_alloc(alignment, bytes)));
  bounce_capacity_ = bounce_ ? bytes : 0;
  return bounce_ != nullptr;
}

// None where it was dealt with. O_DIRECT with guest buffers or sectors that are not aligned for it.
std::optional<BlockRequest::Next> BlockRequest::next_bounced(const Place& place) {
  const auto alignment = place.file->options().alignment;
  bounce_head_ = static_cast<size_t>(place.offset % alignment);
  const auto bytes = static_cast<size_t>(std::min<uint64_t>(place.length, kMaximumBounce - bounce_head_));
  const auto whole = (bounce_head_ + bytes + alignment - 1) / alignment * alignment;
  if (!reserve_bounce(alignment, whole)) {
    refuse(VIRTIO_BLK_S_IOERR);
    return {};
  }
  if (is_write()) {
    copy_from_pieces(data_, 0, bounce_.get() + bounce_head_, bytes);
    if (whole != bytes) {
      if (place.file->write_unaligned(place.offset, bounce_.get(), bytes, write_through_) != 0) {
        refuse(VIRTIO_BLK_S_IOERR);
        return {};
      }
      advance(bytes);
      return {};
    }
  }
  bounced_bytes_ = bytes;
  bounce_piece_ = {bounce_.get(), whole};
  return host_call({.kind = is_read() ? DiskStep::Kind::kRead : DiskStep::Kind::kWrite,
                    .file = place.file,
                    .durable = write_through_,
                    .offset = place.offset - bounce_head_,
                    .length = whole,
                    .pieces = &bounce_piece_,
                    .count = 1});
}

// None where the segment was dealt with.
std::optional<BlockRequest::Next> BlockRequest::next_segment(const BlockTarget& target) {
  const auto& segment = segments_[next_segment_];
  const auto& disk = *target.disk;
  if (zero_by_writing_) return write_zeroes(target, segment);
  if (operation_ == Operation::kDiscard) {
    if (!disk.options().sparse || disk.is_block_device()) {
      // A discard is advice (§5.2.6): what the host cannot do is done.
      if (disk.options().sparse) disk.discard_device_range(segment.offset, segment.length);
      ++next_segment_;
      return {};
    }
    return allocate(target, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
  }
  const bool deallocate = segment.unmap && disk.options().sparse;
  return allocate(target, (deallocate ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE);
}

// None where it was dealt with: what is not of whole alignment units is done at once, while nobody writes a unit's
// rest.
std::optional<BlockRequest::Next> BlockRequest::allocate(const BlockTarget& target, int mode) {
  const auto& segment = segments_[next_segment_];
  const DiskStep step{.kind = DiskStep::Kind::kAllocate,
                      .file = target.disk,
                      .mode = mode,
                      .offset = segment.offset,
                      .length = segment.length};
  const auto held = target.disk->hold(segment.offset, segment.length);
  if (!held) return host_call(step);
  take_result(target.disk->perform(step));
  return {};
}

std::optional<BlockRequest::Next> BlockRequest::write_zeroes(const BlockTarget& target, const Segment& segment) {
  const uint64_t alignment = target.disk->options().alignment;
  const auto offset = segment.offset + zeroed_;
  auto left = segment.length - zeroed_;
  if (offset % alignment != 0 || left < alignment) {
    const auto head = offset % alignment;
    const auto bytes = std::min(left, alignment - head);
    if (!reserve_bounce(target.disk->options().alignment, alignment)) {
      refuse(VIRTIO_BLK_S_IOERR);
      return {};
    }
    std::memset(bounce_.get() + head, 0, bytes);
    take_result(target.disk->write_unaligned(offset, bounce_.get(), bytes, write_through_) == 0
                    ? static_cast<int64_t>(bytes)
                    : -EIO);
    return {};
  }
  zeroes_.clear();
  left -= left % alignment;
  uint64_t length = 0;
  while (length < left && zeroes_.size() < kMaximumZeroPieces) {
    const auto bytes = std::min(left - length, kZeroBytes);
    // SAFETY: the kernel only reads the pieces of a write.
    zeroes_.push_back({const_cast<std::byte*>(kZeroes.data()), bytes});
    length += bytes;
  }
  return host_call({.kind = DiskStep::Kind::kWrite,
                    .file = target.disk,
                    .durable = write_through_,
                    .offset = offset,
                    .length = length,
                    .pieces = zeroes_.data(),
                    .count = static_cast<unsigned>(zeroes_.size())});
}

void BlockRequest::take_result(int64_t result) {
  claim_ = {};
  if (next_segment_ < segments_.size()) {
    if (zero_by_writing_) {
      if (result <= 0) return refuse(VIRTIO_BLK_S_IOERR);
      zeroed_ += static_cast<uint64_t>(result);
      if (zeroed_ < segments_[next_segment_].length) return;
    } else if (result < 0 && operation_ == Operation::kWriteZeroes) {
      if (result != -EOPNOTSUPP && result != -EINVAL) return refuse(VIRTIO_BLK_S_IOERR);
      // The file system cannot: the same segment again, by writing.
      zero_by_writing_ = true;
      zeroed_ = 0;
      return;
    } else if (result < 0 && result != -EOPNOTSUPP && result != -EINVAL) {
      return refuse(VIRTIO_BLK_S_IOERR);
    }
    zeroed_ = 0;
    zero_by_writing_ = false;
    ++next_segment_;
    return;
  }
  if (left_ == 0) {
    sync_owed_ = false;
    if (result < 0) status_ = VIRTIO_BLK_S_IOERR;
    return;
  }
  // 0: the file ended, somebody has made it shorter.
  if (result <= 0) return refuse(VIRTIO_BLK_S_IOERR);
  auto bytes = static_cast<uint64_t>(result);
  if (bounced_bytes_ != 0) {
    bytes = bytes > bounce_head_ ? std::min<uint64_t>(bytes - bounce_head_, bounced_bytes_) : 0;
    if (bytes == 0) return refuse(VIRTIO_BLK_S_IOERR);
    if (is_read()) copy_to_pieces(data_, 0, bounce_.get() + bounce_head_, bytes);
    bounced_bytes_ = 0;
  }
  advance(bytes);
}

void BlockRequest::advance(uint64_t bytes) {
  bytes = std::min(bytes, left_);
  left_ -= bytes;
  offset_ += bytes;
  while (!data_.empty() && bytes >= data_.front().iov_len) {
    bytes -= data_.front().iov_len;
    data_ = data_.subspan(1);
  }
  if (bytes == 0) return;
  auto& front = data_.front();
  front = {static_cast<std::byte*>(front.iov_base) + bytes, front.iov_len - bytes};
}

uint32_t BlockRequest::finish() {
  std::memcpy(status_byte_, &status_, sizeof(status_));
  // Ahead of the status byte everything counts as written: drivers take the length for the status' position.
  if (is_read() && status_ == VIRTIO_BLK_S_OK) answered_bytes_ = static_cast<uint32_t>(length_);
  return answered_bytes_ + 1;
}

}  // namespace tsvmm
