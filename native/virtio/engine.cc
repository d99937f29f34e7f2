#include "virtio/engine.h"

#include <algorithm>

namespace tsvmm {

namespace {

constexpr size_t kMaximumThreadName = 15;

}  // namespace

// The end of the name tells a device's threads apart, so it is the middle that is cut.
std::string Engine::thread_name(const std::string& suffix) const {
  return options_.name.substr(0, kMaximumThreadName - std::min(suffix.size(), kMaximumThreadName)) + suffix;
}

void Engine::add_worker(std::unique_ptr<Worker> worker, std::string suffix) {
  workers_.push_back(std::move(worker));
  suffixes_.push_back(std::move(suffix));
}

std::optional<Engine::StartFailure> Engine::start(std::vector<Vring> vrings, uint64_t features) {
  std::ranges::sort(vrings, {}, &Vring::index);
  const auto twice = std::ranges::adjacent_find(vrings, {}, &Vring::index);
  if (twice != vrings.end()) return StartFailure{twice->index, {ERANGE, "the queue is given twice"}};
  auto failure = make_workers(std::move(vrings), features);
  // One more than there are workers, so that none of them is the last while others are yet to be launched.
  running_.store(1);
  for (size_t number = 0; number < workers_.size() && !failure; ++number) {
    running_.fetch_add(1);
    const auto launched = workers_[number]->launch(thread_name(suffixes_[number]), [this] { worker_ended(); });
    if (launched) continue;
    running_.fetch_sub(1);
    failure = StartFailure{-1, launched.failure()};
  }
  if (failure) {
    shut_down();
    return failure;
  }
  return {};
}

void Engine::request_stop() {
  for (const auto& worker : workers_) worker->request_stop();
  // Gives back the one that start() kept: now the last worker may be the last.
  if (!workers_.empty()) worker_ended();
}

void Engine::worker_ended() {
  if (running_.fetch_sub(1) == 1) options_.on_stopped();
}

std::vector<VringPosition> Engine::finish() {
  for (const auto& worker : workers_) worker->join();
  std::vector<VringPosition> positions;
  for (const auto& worker : workers_) worker->add_positions(positions);
  workers_.clear();
  suffixes_.clear();
  std::ranges::sort(positions, {}, &VringPosition::index);
  return positions;
}

void Engine::shut_down() {
  for (const auto& worker : workers_) worker->request_stop();
  finish();
}

}  // namespace tsvmm
