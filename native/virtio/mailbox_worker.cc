#include "virtio/mailbox_worker.h"

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "io/pieces.h"

namespace tsvmm {

namespace {
// Heads are 16 bits.
constexpr unsigned kRunShift = 16;
}  // namespace

MailboxWorker::MailboxWorker(EventFd wake, UniqueFd epoll, uint64_t run, const MailboxEngine::Options& options,
                             OnFailure on_failure)
    : Worker(std::move(wake)),
      epoll_(std::move(epoll)),
      run_(run),
      options_(options),
      on_failure_(std::move(on_failure)) {
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_event().get(), &event);
}

Result<> MailboxWorker::add_queue(Vring vring, Virtqueue queue) {
  // Edge-triggered, so that the counter need not be read.
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, vring.doorbell->get(), &event) != 0) return last_failure("epoll_ctl");
  std::lock_guard lock(mutex_);
  queues_.push_back(std::make_unique<Queue>(Queue{std::move(vring), std::move(queue), {}, false}));
  return Unit{};
}

void MailboxWorker::run() {
  while (!is_stopping()) {
    bool arrived = false;
    {
      std::lock_guard lock(mutex_);
      for (const auto& queue : queues_) arrived |= walk(*queue);
    }
    if (arrived) options_.on_chains();
    epoll_event event;
    epoll_wait(epoll_.get(), &event, 1, -1);
  }
}

// With the mutex held. Whether there is something to take().
bool MailboxWorker::walk(Queue& queue) {
  if (queue.failed) return false;
  if (queue.queue.memory_changed()) queue.queue.adopt_memory();
  if (queue.outstanding.empty()) queue.queue.release_memory();
  bool arrived = false;
  const char* reason = nullptr;
  queue.queue.disable_notifications();
  do {
    for (;;) {
      Outstanding outstanding;
      const auto popped = queue.queue.pop(outstanding.chain);
      if (popped == Virtqueue::Pop::kEmpty) break;
      reason = popped == Virtqueue::Pop::kBroken ? queue.queue.failure() : accept(queue, outstanding);
      if (reason != nullptr) break;
      arrived = true;
    }
  } while (reason == nullptr && queue.queue.enable_notifications());
  if (reason != nullptr) {
    queue.failed = true;
    on_failure_(queue.vring.index, reason);
  }
  return arrived;
}

const char* MailboxWorker::accept(Queue& queue, Outstanding& outstanding) {
  auto& chain = outstanding.chain;
  if (chain.readable_bytes > options_.maximum_readable_bytes) return "a chain with more readable bytes than allowed";
  const auto same = [&](const Outstanding& other) { return other.chain.head == chain.head; };
  if (std::ranges::any_of(queue.outstanding, same)) return "a chain offered again before it went back";
  MailboxChain copy{queue.vring.index, run_ << kRunShift | chain.head, std::vector<uint8_t>(chain.readable_bytes),
                    chain.writable_bytes};
  copy_from_pieces(chain.readable(), 0, copy.readable.data(), copy.readable.size());
  arrived_.push_back(std::move(copy));
  queue.outstanding.push_back(std::move(outstanding));
  return nullptr;
}

std::optional<MailboxChain> MailboxWorker::take() {
  if (is_stopping()) return {};
  std::lock_guard lock(mutex_);
  if (arrived_.empty()) return {};
  auto chain = std::move(arrived_.front());
  arrived_.pop_front();
  return chain;
}

MailboxEngine::Completion MailboxWorker::complete(uint16_t index, uint64_t token, std::span<const uint8_t> bytes) {
  using Completion = MailboxEngine::Completion;
  if (is_stopping() || token >> kRunShift < run_) return Completion::kStopped;
  std::lock_guard lock(mutex_);
  const auto queue = std::ranges::find_if(queues_, [&](const auto& entry) { return entry->vring.index == index; });
  if (queue == queues_.end()) return Completion::kUnknown;
  auto& outstanding = (*queue)->outstanding;
  const auto found = std::ranges::find_if(outstanding, [&](const Outstanding& entry) {
    return (run_ << kRunShift | entry.chain.head) == token && !entry.completed;
  });
  if (found == outstanding.end()) return Completion::kUnknown;
  if (bytes.size() > found->chain.writable_bytes) return Completion::kTooLong;
  // A queue that failed is left alone: the guest must reset the device.
  if ((*queue)->failed) return Completion::kDone;
  found->written = static_cast<uint32_t>(copy_to_pieces(found->chain.writable(), 0, bytes.data(), bytes.size()));
  (*queue)->queue.mark_written(found->chain, found->written);
  found->completed = true;
  give_back(**queue);
  return Completion::kDone;
}

void MailboxWorker::give_back(Queue& queue) {
  auto& outstanding = queue.outstanding;
  while (!outstanding.empty() && outstanding.front().completed) {
    queue.queue.push(outstanding.front().chain.head, outstanding.front().written);
    outstanding.pop_front();
  }
  if (queue.queue.publish()) queue.vring.interrupt->signal();
}

void MailboxWorker::add_positions(std::vector<VringPosition>& positions) const {
  std::lock_guard lock(mutex_);
  for (const auto& queue : queues_) {
    const auto next = static_cast<uint16_t>(queue->queue.next_available() - queue->outstanding.size());
    positions.push_back({queue->vring.index, next, queue->queue.next_used()});
  }
}

}  // namespace tsvmm
