// The one thread behind all queues of a mailbox engine.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "sys/unique_fd.h"
#include "virtio/mailbox_engine.h"
#include "virtio/worker.h"

namespace tsvmm {

class MailboxWorker final : public Worker {
 public:
  MailboxWorker(EventFd wake, UniqueFd epoll, uint64_t run, const MailboxEngine::Options& options,
                OnFailure on_failure);
  ~MailboxWorker() override { join(); }

  // Before launch().
  Result<> add_queue(Vring vring, Virtqueue queue);
  // Any thread.
  std::optional<MailboxChain> take();
  MailboxEngine::Completion complete(uint16_t queue, uint64_t token, std::span<const uint8_t> bytes);

  void add_positions(std::vector<VringPosition>& positions) const override;

 private:
  // A chain that has not gone back to the guest.
  struct Outstanding {
    Chain chain;
    uint32_t written = 0;
    bool completed = false;
  };
  struct Queue {
    Vring vring;
    Virtqueue queue;
    std::deque<Outstanding> outstanding;  // as offered
    bool failed = false;
  };

  void run() override;
  bool walk(Queue& queue);
  const char* accept(Queue& queue, Outstanding& outstanding);
  void give_back(Queue& queue);

  UniqueFd epoll_;
  const uint64_t run_;
  const MailboxEngine::Options& options_;
  OnFailure on_failure_;

  mutable std::mutex mutex_;  // guards all below
  std::vector<std::unique_ptr<Queue>> queues_;
  std::deque<MailboxChain> arrived_;
};

}  // namespace tsvmm
