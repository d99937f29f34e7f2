// Serves a card's receive and transmit queues, a thread a pair (`<name>_qp<i>`).
#pragma once

#include <memory>
#include <vector>

#include "virtio/engine.h"
#include "virtio/net_pair.h"

namespace tsvmm {

// Queue 2i receives and 2i + 1 transmits for pair i (virtio 1.2 §5.1.2).
class NetEngine final : public Engine {
 public:
  // How much the card may receive and transmit; nullptr where it may all.
  struct Limiters {
    std::shared_ptr<RateLimiter> receive;
    std::shared_ptr<RateLimiter> transmit;
  };

  // One tap queue a pair, non-blocking, with a header of 12 bytes.
  NetEngine(EngineOptions options, std::vector<UniqueFd> taps, Limiters limiters);
  ~NetEngine() override { shut_down(); }

  // How many pairs are in use (VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET); 1 at first, kept over stop and start.
  void set_mode(uint64_t value) override;
  Counters counters() const override;

 private:
  std::optional<StartFailure> make_workers(std::vector<Vring> vrings, uint64_t features) override;

  std::vector<UniqueFd> taps_;
  NetShared shared_;
};

}  // namespace tsvmm
