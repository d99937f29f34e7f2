// Walks the queues of a device with little traffic and hands whole chains, copied, to another thread, which completes
// them now or later.
//
// Completions may come in any order; chains go back to the guest in the order in which it offered them (§2.7.9 lets a
// device do so always). A position is therefore exact: at stop, next_available is the first chain that has not gone
// back, and after the next start it and all behind it are offered again. Whoever holds chains may forget them at stop.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "virtio/engine.h"

namespace tsvmm {

struct MailboxChain {
  uint16_t queue;  // in the device
  // Names the chain: its head, and above it which of the engine's runs offered it.
  uint64_t token;
  std::vector<uint8_t> readable;
  uint64_t writable_bytes;
};

class MailboxWorker;

class MailboxEngine final : public Engine {
 public:
  struct Options {
    // A chain with more readable bytes is a failure.
    uint64_t maximum_readable_bytes = 0;
    // From the worker's thread: take() finds something.
    std::function<void()> on_chains;
  };
  enum class Completion { kDone, kStopped, kUnknown, kTooLong };

  MailboxEngine(EngineOptions options, Options mailbox) : Engine(std::move(options)), mailbox_(std::move(mailbox)) {}
  ~MailboxEngine() override { shut_down(); }

  // The next chain that came; none while stopped or stopping.
  std::optional<MailboxChain> take();
  // kStopped: nothing was done; the chain is of a run that has ended and was offered again since, or will be. kUnknown:
  // no such chain is out.
  Completion complete(uint16_t queue, uint64_t token, std::span<const uint8_t> bytes);

  void set_mode(uint64_t) override {}
  Counters counters() const override { return {}; }

 private:
  std::optional<StartFailure> make_workers(std::vector<Vring> vrings, uint64_t features) override;
  MailboxWorker* worker();

  Options mailbox_;
  uint64_t runs_ = 0;
};

}  // namespace tsvmm
