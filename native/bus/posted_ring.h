// Writes that the guest does not wait for: one producer (a vCPU thread), one consumer (the JavaScript thread).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

namespace tsvmm {

struct PostedWrite {
  uint32_t window;
  uint32_t offset;
  uint32_t width;
  uint32_t value;
};

// Numbers the writes of all rings of a machine: guests hand a device from one vCPU to another, in the middle of a line.
class PostedSequence {
 public:
  uint64_t next() { return next_.fetch_add(1, std::memory_order_seq_cst); }

 private:
  std::atomic<uint64_t> next_ = 0;
};

class PostedRing {
 public:
  // A kernel log line is about 80 writes to the UART; a ring of this size takes the longest ones while JavaScript wakes
  // up.
  static constexpr uint32_t kCapacity = 1024;

  // Producer. False where the ring is full.
  bool push(const PostedWrite& write, PostedSequence& sequence) {
    const auto tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_.load(std::memory_order_acquire) == kCapacity) return false;
    entries_[tail % kCapacity] = {write, sequence.next()};
    tail_.store(tail + 1, std::memory_order_seq_cst);
    return true;
  }

  // Consumer: the number of what pop() would return; nothing where the ring is empty.
  std::optional<uint64_t> front() const {
    const auto head = head_.load(std::memory_order_relaxed);
    if (head == tail_.load(std::memory_order_acquire)) return {};
    return entries_[head % kCapacity].sequence;
  }

  // Consumer.
  std::optional<PostedWrite> pop() {
    const auto head = head_.load(std::memory_order_relaxed);
    if (head == tail_.load(std::memory_order_acquire)) return {};
    const auto write = entries_[head % kCapacity].write;
    // Sequentially consistent, because notify_one() looks for waiters next: a weaker store could still be on its way
    // when the producer goes to sleep.
    head_.store(head + 1, std::memory_order_seq_cst);
    head_.notify_one();
    return write;
  }

  // Producer, after push() has failed: sleeps until the consumer has taken something.
  void wait_for_room() const {
    const auto head = head_.load(std::memory_order_acquire);
    if (tail_.load(std::memory_order_relaxed) - head == kCapacity) head_.wait(head, std::memory_order_acquire);
  }

  // Consumer: how many wait, at least.
  uint32_t size() const { return tail_.load(std::memory_order_seq_cst) - head_.load(std::memory_order_relaxed); }

 private:
  struct Entry {
    PostedWrite write;
    uint64_t sequence;
  };

  std::array<Entry, kCapacity> entries_{};
  alignas(64) std::atomic<uint32_t> tail_ = 0;
  alignas(64) std::atomic<uint32_t> head_ = 0;
};

}  // namespace tsvmm
