// For tests: both ends of connections.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <future>
#include <memory>
#include <utility>
#include <vector>

#include "memory/testing/image_fixture.h"
#include "migration/memory_receiver.h"
#include "migration/memory_sender.h"
#include "migration/stream.h"

namespace tsvmm::testing {

inline std::pair<UniqueFd, UniqueFd> socket_pair() {
  int ends[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

inline Stream stream_of(UniqueFd socket) { return Stream::adopt(std::move(socket), std::chrono::seconds(60)).value(); }

inline PageBitmap all_pages() { return PageBitmap::all(kRamPages); }

// A sender and a receiver of two machines' memory.
class Transfer {
 public:
  Transfer(Ram& from, Ram& to, unsigned connections, uint64_t delta_bytes = 8 << 20) {
    MemorySender::Options sending{.memory = from.memory().map(), .delta_bytes = delta_bytes};
    MemoryReceiver::Options receiving{.memory = to.memory().map()};
    for (unsigned index = 0; index < connections; ++index) {
      auto [one, other] = socket_pair();
      sending.sockets.push_back(std::move(one));
      receiving.sockets.push_back(std::move(other));
    }
    receiving.on_pass = [this](uint64_t pass) { passes_ = pass; };
    receiving.on_failure = [this](const Failure& failure) { failed_.set_value(failure); };
    receiver_ = MemoryReceiver::start(std::move(receiving)).value();
    sender_ = MemorySender::create(std::move(sending)).value();
  }

  Result<> send(MemorySender::Pass pass, const PageBitmap& pages) {
    std::promise<Result<>> sent;
    const auto begun = sender_->send(pass, pages, [&](Result<> result) { sent.set_value(result); });
    if (!begun) return begun;
    return sent.get_future().get();
  }

  MemorySender& sender() { return *sender_; }
  MemoryReceiver& receiver() { return *receiver_; }
  uint64_t passes() const { return passes_; }
  std::future<Failure> failed() { return failed_.get_future(); }
  void end_sender() { sender_.reset(); }
  void end_receiver() { receiver_.reset(); }

 private:
  std::atomic<uint64_t> passes_ = 0;
  std::promise<Failure> failed_;
  std::unique_ptr<MemoryReceiver> receiver_;
  std::unique_ptr<MemorySender> sender_;
};

}  // namespace tsvmm::testing
