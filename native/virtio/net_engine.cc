#include "virtio/net_engine.h"

#include <sys/epoll.h>

namespace tsvmm {

NetEngine::NetEngine(EngineOptions options, std::vector<UniqueFd> taps, Limiters limiters)
    : Engine(std::move(options)), taps_(std::move(taps)) {
  shared_.receive_limiter = std::move(limiters.receive);
  shared_.transmit_limiter = std::move(limiters.transmit);
}

void NetEngine::set_mode(uint64_t value) {
  shared_.active_pairs.store(value);
  for (const auto& worker : workers()) worker->wake();
}

Engine::Counters NetEngine::counters() const {
  return {{"rx_bytes", shared_.receive_bytes.load()},
          {"rx_frames", shared_.receive_frames.load()},
          {"tx_bytes", shared_.transmit_bytes.load()},
          {"tx_frames", shared_.transmit_frames.load()}};
}

std::optional<Engine::StartFailure> NetEngine::make_workers(std::vector<Vring> vrings, uint64_t features) {
  std::vector<NetPair::Options> pairs;
  for (uint32_t number = 0; number < taps_.size(); ++number) {
    pairs.push_back({number, taps_[number].get(), features, std::nullopt, std::nullopt});
  }
  for (auto& vring : vrings) {
    const auto index = vring.index;
    if (index / 2u >= pairs.size()) return StartFailure{index, {ERANGE, "there is no tap queue for it"}};
    auto queue = Virtqueue::create(vring.layout, options().memory, features);
    if (!queue) return StartFailure{index, queue.failure()};
    auto& pair = pairs[index / 2];
    auto& place = index % 2 == 0 ? pair.receive : pair.transmit;
    place.emplace(NetQueue{std::move(vring), std::move(queue).value()});
  }
  for (auto& pair : pairs) {
    if (!pair.receive && !pair.transmit) continue;
    auto wake = EventFd::create();
    if (!wake) return StartFailure{-1, wake.failure()};
    UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
    if (!epoll.is_open()) return StartFailure{-1, last_failure("epoll_create1")};
    const auto suffix = "_qp" + std::to_string(pair.number);
    auto worker = std::make_unique<NetPair>(std::move(wake).value(), std::move(epoll), shared_, std::move(pair),
                                            options().on_failure);
    if (const auto watched = worker->watch_events(); !watched) return StartFailure{-1, watched.failure()};
    add_worker(std::move(worker), suffix);
  }
  return {};
}

}  // namespace tsvmm
