// One connection of a MemorySender: its spans, from the guest's memory to the socket.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "memory/residency.h"
#include "migration/frame.h"
#include "migration/level_control.h"
#include "migration/memory_sender.h"
#include "migration/page_codec.h"
#include "migration/sent_pages.h"
#include "migration/stream.h"

namespace tsvmm {

// One thread, but for cut() and bytes_sent().
class SendConnection {
 public:
  SendConnection(Stream stream, std::shared_ptr<SendShared> shared, uint64_t delta_bytes);

  using Pass = MemorySender::Pass;
  void begin(Pass pass);
  Result<> send_pair(uint64_t pair, const PairMask& wanted);
  // Waits until the receiver has all of the pass in its memory.
  Result<> end(uint64_t pass_number);

  // Sends what is asked for over the connection, until that ends.
  void answer(RestPages& rest);

  void cut() { stream_.cut(); }
  uint64_t bytes_sent() const { return stream_.bytes_written(); }

 private:
  // Pages of a span, one after the other.
  struct Batch {
    SpanMask mask{};
    std::vector<std::byte> pages = std::vector<std::byte>(kSpanBytes);
    std::byte* next = nullptr;
    std::span<const std::byte> bytes() const { return {pages.data(), next}; }
  };

  Result<> send_span(uint64_t span, const SpanMask& wanted);
  void sort(uint64_t span, const SpanMask& touched);
  void sort_page(uint64_t span, unsigned page);
  Result<> send(uint64_t span, const Batch& batch, uint8_t encoding, const SpanMask& zero);

  Stream stream_;
  const std::shared_ptr<SendShared> shared_;
  const Residency residency_;
  FrameWriter writer_{stream_};
  FrameReader reader_;
  PageEncoder encoder_;
  LevelControl level_;
  SentPages sent_;
  PageBitmap not_zero_;  // that the receiver has of this connection
  Pass pass_ = Pass::kFirst;
  // Of the span at hand.
  SpanMask zero_{};
  Batch whole_;
  Batch changed_;  // as what differs
};

}  // namespace tsvmm
