#include "migration/memory_receiver.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace tsvmm {

MemoryReceiver::MemoryReceiver(Options options)
    : options_(std::move(options)), space_(options_.memory), late_(std::move(options_.late)) {}

Result<std::unique_ptr<MemoryReceiver>> MemoryReceiver::start(Options options) {
  std::unique_ptr<MemoryReceiver> receiver(new MemoryReceiver(std::move(options)));
  auto& sockets = receiver->options_.sockets;
  if (receiver->space_.pages() == 0 || sockets.empty()) return Failure{EINVAL, "receive memory"};
  for (auto& socket : sockets) {
    auto stream = Stream::adopt(std::move(socket), receiver->options_.stall);
    if (!stream) return stream.failure();
    receiver->connections_.push_back(std::make_unique<Connection>(std::move(stream).value(), receiver->space_.pages()));
  }
  if (auto started = receiver->start_threads(); !started) return started.failure();
  return receiver;
}

Result<> MemoryReceiver::start_threads() {
  for (auto& connection : connections_) {
    auto thread = Thread::start({"receive-memory"}, [this, &connection] { run(*connection); });
    if (!thread) return thread.failure();
    threads_.push_back(std::move(thread).value());
  }
  return Unit{};
}

MemoryReceiver::~MemoryReceiver() {
  // It is nobody's failure that they end now.
  has_failed_ = true;
  for (auto& connection : connections_) connection->stream.cut();
  threads_.clear();
}

Result<> MemoryReceiver::turn_late(const std::function<Result<Late>()>& watch) {
  std::vector<std::unique_lock<std::mutex>> locks;
  for (auto& connection : connections_) locks.emplace_back(connection->placing);
  auto late = watch();
  if (!late) return late.failure();
  late_ = std::move(late).value();
  return Unit{};
}

void MemoryReceiver::run(Connection& connection) {
  const auto received = receive(connection);
  if (!has_failed_.exchange(true)) options_.on_failure(received.failure());
}

Result<> MemoryReceiver::receive(Connection& connection) {
  for (;;) {
    const auto read = connection.reader.read();
    if (!read) return read.failure();
    if (!read.value()) return Failure{ECONNRESET, "recv"};
    const auto& frame = *read.value();
    Result<> taken = Failure{EBADMSG, "a frame is not for who receives memory"};
    if (frame.kind == FrameKind::kPages) taken = place(connection, frame.number, frame.pages);
    if (frame.kind == FrameKind::kEnd) taken = end_pass(connection, frame.number);
    if (!taken) return taken;
  }
}

Result<> MemoryReceiver::place(Connection& connection, uint64_t span, const PagesFrame& frame) {
  bytes_received_ += FrameWriter::frame_bytes(frame.contents.size());
  pages_received_ += count(frame.data | frame.zero);
  const auto pages = connection.decoder.decode(frame);
  if (!pages) return pages.failure();
  {
    const std::lock_guard lock(connection.placing);
    if (!late_) {
      copy(span, frame, pages.value());
      return Unit{};
    }
  }
  if (frame.is_delta()) return Failure{EBADMSG, "changes of pages that are not there"};
  auto settled = connection.settler.settle(*late_->memory, span, frame, pages.value());
  late_->on_settled();
  return settled;
}

void MemoryReceiver::copy(uint64_t span, const PagesFrame& frame, std::span<const std::byte> pages) const {
  const auto* from = pages.data();
  for_each_page(frame.data, [&](unsigned page) {
    auto* host = space_.host(span * kSpanPages + page);
    if (frame.is_delta()) {
      xor_pages({host, kPageBytes}, {from, kPageBytes});
    } else {
      std::memcpy(host, from, kPageBytes);
    }
    from += kPageBytes;
  });
  if (is_empty(frame.zero)) return;
  for_each_page(residency_.touched(space_, span, frame.zero),
                [&](unsigned page) { std::memset(space_.host(span * kSpanPages + page), 0, kPageBytes); });
}

Result<> MemoryReceiver::end_pass(Connection& connection, uint64_t pass) {
  bool is_last = false;
  {
    std::lock_guard lock(mutex_);
    if (pass != connection.pass + 1) return Failure{EBADMSG, "a pass is missing or doubled"};
    connection.pass = pass;
    is_last = std::ranges::all_of(connections_, [&](const auto& each) { return each->pass >= pass; });
  }
  // Before the sender hears of it, who may be quick to say so himself.
  if (is_last) options_.on_pass(pass);
  return connection.writer.write_mark(FrameKind::kApplied, pass);
}

}  // namespace tsvmm
