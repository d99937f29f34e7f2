// One request of a virtio disk (virtio 1.2 §5.2.6), from its chain to its status byte.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "disk/disk_access.h"
#include "disk/disk_image.h"
#include "virtio/chain.h"
#include "virtio/latency.h"

namespace tsvmm {

// What a request is judged by and carried out with. The serial is padded with zeroes (§5.2.6.1).
struct BlockTarget {
  DiskAccess* disk;
  DiskImage* image;  // nullptr where the disk's bytes are those of the file
  uint64_t features;
  std::span<const uint8_t, 20> serial;
};

// One thread at a time. parse() judges a chain; then next() says what is to be done, and take_result() what came of it,
// until nothing is: the request is done and finish() writes its status.
class BlockRequest {
 public:
  // `chain()` was popped. A text: the chain is no request at all, the queue is malformed.
  const char* parse(const BlockTarget& target, bool write_through);
  Chain& chain() { return chain_; }

  enum class Next : uint8_t {
    kHostCall,  // step()
    kImage,     // carry_out()
    kDone,
  };
  Next next(const BlockTarget& target);
  const DiskStep& step() const { return step_; }
  // Blocks; on any thread. What take_result() is to be told.
  int64_t carry_out(const BlockTarget& target);
  void take_result(int64_t result);

  // Returns how many bytes of the writable part were written, as the used ring counts (§2.7.8).
  uint32_t finish();
  uint64_t status_address() const { return status_address_; }

  bool is_read() const { return operation_ == Operation::kRead; }
  bool is_write() const { return operation_ == Operation::kWrite; }
  bool succeeded() const { return status_ == 0; }
  // Of reads and writes: bytes of payload.
  uint64_t length() const { return length_; }
  Latency::Clock::time_point begun() const { return begun_; }

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
  // Where in a file the transfer goes on, for how long.
  struct Place {
    DiskAccess* file;
    uint64_t offset;
    uint64_t length;
  };
  std::optional<Next> next_of_image(const BlockTarget& target);
  std::optional<Next> next_transfer(const Place& place);
  std::optional<Next> next_bounced(const Place& place);
  std::optional<Next> next_segment(const BlockTarget& target);
  std::optional<Next> allocate(const BlockTarget& target, int mode);
  std::optional<Next> write_zeroes(const BlockTarget& target, const Segment& segment);
  Next host_call(const DiskStep& step);
  bool reserve_bounce(uint32_t alignment, size_t bytes);
  void advance(uint64_t bytes);

  Chain chain_;
  Latency::Clock::time_point begun_;
  DiskStep step_{};
  Operation operation_ = Operation::kNone;
  uint8_t status_ = 0;
  bool write_through_ = false;
  bool sync_owed_ = false;  // by a flush, and in write-through mode by what is not durable by itself
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
  std::vector<iovec> part_;   // of data_, where the place is shorter
  GracePeriod::Claim claim_;  // on the place of the host call

  // Discard and write zeroes.
  std::vector<Segment> segments_;
  size_t next_segment_ = 0;
  uint64_t zeroed_ = 0;  // bytes of the segment written with zeroes
  bool zero_by_writing_ = false;
  std::vector<iovec> zeroes_;
};

}  // namespace tsvmm
