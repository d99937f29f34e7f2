#include "virtio/mailbox_engine.h"

#include <sys/epoll.h>

#include "virtio/mailbox_worker.h"

namespace tsvmm {

MailboxWorker* MailboxEngine::worker() {
  return workers().empty() ? nullptr : static_cast<MailboxWorker*>(workers().front().get());
}

std::optional<MailboxChain> MailboxEngine::take() {
  auto* mailbox = worker();
  return mailbox != nullptr ? mailbox->take() : std::nullopt;
}

MailboxEngine::Completion MailboxEngine::complete(uint16_t queue, uint64_t token, std::span<const uint8_t> bytes) {
  auto* mailbox = worker();
  return mailbox != nullptr ? mailbox->complete(queue, token, bytes) : Completion::kStopped;
}

std::optional<Engine::StartFailure> MailboxEngine::make_workers(std::vector<Vring> vrings, uint64_t features) {
  auto wake = EventFd::create();
  if (!wake) return StartFailure{-1, wake.failure()};
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.is_open()) return StartFailure{-1, last_failure("epoll_create1")};
  auto mailbox = std::make_unique<MailboxWorker>(std::move(wake).value(), std::move(epoll), runs_++, mailbox_,
                                                 options().on_failure);
  for (auto& vring : vrings) {
    const auto index = vring.index;
    auto queue = Virtqueue::create(vring.layout, options().memory, features);
    if (!queue) return StartFailure{index, queue.failure()};
    if (const auto added = mailbox->add_queue(std::move(vring), std::move(queue).value()); !added) {
      return StartFailure{-1, added.failure()};
    }
  }
  add_worker(std::move(mailbox), "");
  return {};
}

}  // namespace tsvmm
