// One request of a virtio disk (virtio 1.2 §5.2.6), from its chain to its status byte.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "disk/disk_access.h"
#include "virtio/chain.h"

namespace tsvmm {

// What a request is judged by and carried out with. The serial is padded with zeroes (§5.2.6.1).
struct BlockTarget {
  DiskAccess* disk;
  uint64_t features;
  std::span<const uint8_t, 20> serial;
};

// One thread at a time. parse() judges a chain; then next_step() gives one host call after the other, each answered
// with take_result(), until it gives none: the request is done and finish() writes its status.
class BlockRequest {
 public:
  // `chain()` was popped. A text: the chain is no request at all, the queue is malformed.
  const char* parse(const BlockTarget& target, bool write_through);
  Chain& chain() { return chain_; }

  std::optional<DiskStep> next_step(const BlockTarget& target);
  void take_result(int64_t result);

  // Returns how many bytes of the writable part were written, as the used ring counts (§2.7.8).
  uint32_t finish();
  uint64_t status_address() const { return status_address_; }

  bool is_read() const { return operation_ == Operation::kRead; }
  bool is_write() const { return operation_ == Operation::kWrite; }
  bool succeeded() const { return status_ == 0; }
  // Of reads and writes: bytes of payload.
  uint64_t length() const { return length_; }

 private:
  enum class Operation : uint8_t { kNone, kRead, kWrite, kFlush, kDiscard, kWriteZeroes };
  struct Segment {
    uint64_t offset;
    uint64_t length;
    bool unmap;
  };
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };

  void refuse(uint8_t status);
  void parse_transfer(const BlockTarget& target, uint64_t sector, uint64_t bytes);
  void parse_segments(const BlockTarget& target);
  void answer_serial(const BlockTarget& target);
  std::optional<DiskStep> next_transfer(const BlockTarget& target);
  std::optional<DiskStep> next_bounced(const BlockTarget& target);
  std::optional<DiskStep> next_segment(const BlockTarget& target);
  std::optional<DiskStep> write_zeroes(const BlockTarget& target, const Segment& segment);
  bool reserve_bounce(uint32_t alignment, size_t bytes);
  void advance(uint64_t bytes);

  Chain chain_;
  Operation operation_ = Operation::kNone;
  uint8_t status_ = 0;
  bool write_through_ = false;
  bool sync_owed_ = false;  // by a flush, and by a discard in write-through mode
  std::byte* status_byte_ = nullptr;
  uint64_t status_address_ = 0;
  uint64_t length_ = 0;
  uint32_t answered_bytes_ = 0;

  // Transfers: what is left, as data_[0] onwards on the disk from offset_ on.
  std::span<iovec> data_;
  uint64_t offset_ = 0;
  uint64_t left_ = 0;
  std::unique_ptr<std::byte, Free> bounce_;
  size_t bounce_capacity_ = 0;
  size_t bounce_head_ = 0;    // where the data begins in the bounce buffer
  size_t bounced_bytes_ = 0;  // data bytes of the bounced step given out, 0 where it was none
  iovec bounce_piece_{};

  // Discard and write zeroes.
  std::vector<Segment> segments_;
  size_t next_segment_ = 0;
  uint64_t zeroed_ = 0;  // bytes of the segment written with zeroes
  bool zero_by_writing_ = false;
  std::vector<iovec> zeroes_;
};

}  // namespace tsvmm
