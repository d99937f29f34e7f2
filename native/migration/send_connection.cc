#include "migration/send_connection.h"

#include <cstring>

#include "memory/zero_page.h"

namespace tsvmm {

namespace {
using Clock = std::chrono::steady_clock;
using ConstPage = std::span<const std::byte, kPageBytes>;

constexpr size_t kPageWords = kPageBytes / sizeof(uint64_t);

size_t equal_words(const std::byte* one, const std::byte* other) {
  size_t equal = 0;
  for (size_t offset = 0; offset < kPageBytes; offset += sizeof(uint64_t)) {
    uint64_t words[2];
    std::memcpy(&words[0], one + offset, sizeof words[0]);
    std::memcpy(&words[1], other + offset, sizeof words[1]);
    equal += words[0] == words[1] ? 1 : 0;
  }
  return equal;
}

}  // namespace

SendConnection::SendConnection(Stream stream, std::shared_ptr<SendShared> shared, uint64_t delta_bytes)
    : stream_(std::move(stream)),
      shared_(std::move(shared)),
      reader_(stream_, shared_->space.pages()),
      sent_(delta_bytes),
      not_zero_(shared_->space.pages()) {}

void SendConnection::begin(Pass pass) {
  pass_ = pass;
  sent_.begin_pass();
  if (pass != Pass::kRest) return;
  // The receiver has thrown away what it had of them.
  sent_.clear();
  not_zero_ = PageBitmap(not_zero_.pages());
}

Result<> SendConnection::send_pair(uint64_t pair, const PairMask& wanted) {
  for (unsigned index = 0; index < 2; ++index) {
    if (is_empty(wanted[index])) continue;
    if (auto sent = send_span(2 * pair + index, wanted[index]); !sent) return sent;
  }
  return Unit{};
}

Result<> SendConnection::send_span(uint64_t span, const SpanMask& wanted) {
  const auto touched = residency_.touched(shared_->space, span, wanted);
  zero_ = wanted & ~touched;
  sort(span, touched);
  const auto was_not_zero = not_zero_.span(span);
  // In the first pass as in later ones: what the receiver never had from here is zero there.
  const auto told = pass_ == Pass::kRest ? zero_ : zero_ & was_not_zero;
  not_zero_.set_span(span, (was_not_zero & ~zero_) | whole_.mask | changed_.mask);
  for_each_page(told, [&](unsigned page) { sent_.forget(span, page); });
  if (!is_empty(whole_.mask | told)) {
    if (auto sent = send(span, whole_, 0, told); !sent) return sent;
  }
  if (!is_empty(changed_.mask)) {
    if (auto sent = send(span, changed_, page_encoding::kDelta, {}); !sent) return sent;
  }
  auto& counters = shared_->counters;
  counters.zero += count(zero_);
  counters.whole += count(whole_.mask);
  counters.delta += count(changed_.mask);
  counters.pages_done += count(wanted);
  return Unit{};
}

// Into those that are zero, those that are nearly as they were, and the others.
void SendConnection::sort(uint64_t span, const SpanMask& touched) {
  for (auto* batch : {&whole_, &changed_}) {
    batch->mask = {};
    batch->next = batch->pages.data();
  }
  for_each_page(touched, [&](unsigned page) { sort_page(span, page); });
}

void SendConnection::sort_page(uint64_t span, unsigned page) {
  // Copied once; this copy is what is judged, sent and remembered: the guest may run.
  std::memcpy(whole_.next, shared_->space.host(span * kSpanPages + page), kPageBytes);
  if (is_zero(ConstPage(whole_.next, kPageBytes))) return set(zero_, page);
  auto* before = pass_ == Pass::kRest ? nullptr : sent_.find(span, page);
  const auto equal = before == nullptr ? 0 : equal_words(before, whole_.next);
  if (equal == kPageWords) {
    ++shared_->counters.same;
    return;
  }
  if (equal >= kPageWords / 2) {
    std::memcpy(changed_.next, whole_.next, kPageBytes);
    xor_pages({changed_.next, kPageBytes}, {before, kPageBytes});
    set(changed_.mask, page);
    changed_.next += kPageBytes;
  }
  if (before == nullptr && pass_ != Pass::kRest) before = sent_.place(span, page);
  if (before != nullptr) std::memcpy(before, whole_.next, kPageBytes);
  if (equal >= kPageWords / 2) return;
  set(whole_.mask, page);
  whole_.next += kPageBytes;
}

Result<> SendConnection::send(uint64_t span, const Batch& batch, uint8_t encoding, const SpanMask& zero) {
  PagesFrame frame{.data = batch.mask, .zero = zero, .encoding = encoding, .contents = batch.bytes()};
  const auto begun = Clock::now();
  if (!batch.bytes().empty()) {
    const auto bytes = encoder_.encode(batch.bytes(), level_.level(), writer_.contents());
    if (!bytes) return bytes.failure();
    if (bytes.value() != 0) {
      frame.encoding |= page_encoding::kZstd;
      frame.contents = writer_.contents().first(bytes.value());
    }
  }
  const auto encoded_at = Clock::now();
  shared_->limit.take(FrameWriter::frame_bytes(frame.contents.size()));
  if (auto written = writer_.write_pages(span, frame); !written) return written;
  level_.note(encoded_at - begun, Clock::now() - encoded_at);
  return Unit{};
}

void SendConnection::answer(RestPages& rest) {
  begin(Pass::kRest);
  for (;;) {
    const auto read = reader_.read();
    if (!read || !read.value() || read.value()->kind != FrameKind::kRequest) break;
    const auto pair = read.value()->number / 2;
    // What is on its way over the other connections already arrives by itself.
    if (!send_pair(pair, rest.take(pair, read.value()->wanted))) break;
  }
  stream_.cut();
}

Result<> SendConnection::end(uint64_t pass_number) {
  if (auto written = writer_.write_mark(FrameKind::kEnd, pass_number); !written) return written;
  const auto answer = reader_.read();
  if (!answer) return answer.failure();
  if (!answer.value()) return Failure{ECONNRESET, "recv"};
  const auto& frame = *answer.value();
  if (frame.kind == FrameKind::kApplied && frame.number == pass_number) return Unit{};
  return Failure{EBADMSG, "the receiver answers something else"};
}

}  // namespace tsvmm
