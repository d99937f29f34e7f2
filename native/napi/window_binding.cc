#include "napi/window_binding.h"

#include "napi/addon_data.h"
#include "napi/arguments.h"

namespace tsvmm {

namespace {

std::optional<RegisterSpan::Read> read_rule(const std::string& name) {
  if (name == "bytes") return RegisterSpan::Read::kBytes;
  if (name == "clock") return RegisterSpan::Read::kClock;
  if (name == "ecam") return RegisterSpan::Read::kEcam;
  if (name == "indexed") return RegisterSpan::Read::kIndexed;
  if (name == "trap") return RegisterSpan::Read::kTrap;
  return {};
}

std::optional<RegisterSpan::Write> write_rule(const std::string& name) {
  if (name == "bytes") return RegisterSpan::Write::kBytes;
  if (name == "post") return RegisterSpan::Write::kPost;
  if (name == "ignore") return RegisterSpan::Write::kIgnore;
  if (name == "ecam") return RegisterSpan::Write::kEcam;
  if (name == "change") return RegisterSpan::Write::kChange;
  if (name == "trap") return RegisterSpan::Write::kTrap;
  return {};
}

std::optional<RegisterSpan> read_span(Napi::Value value) {
  if (!value.IsObject()) {
    Napi::TypeError::New(value.Env(), "a span must be an object").ThrowAsJavaScriptException();
    return {};
  }
  const auto object = value.As<Napi::Object>();
  RegisterSpan span;
  const auto offset = read_uint(object.Get("offset"), "offset", UINT32_MAX);
  if (!offset) return {};
  const auto length = read_uint(object.Get("lengthBytes"), "lengthBytes", UINT32_MAX);
  if (!length) return {};
  const auto read_name = read_string(object.Get("read"), "read");
  if (!read_name) return {};
  const auto write_name = read_string(object.Get("write"), "write");
  if (!write_name) return {};
  const auto read = read_rule(*read_name);
  const auto write = write_rule(*write_name);
  if (!read || !write) {
    Napi::RangeError::New(value.Env(), "no such span rule").ThrowAsJavaScriptException();
    return {};
  }
  if (const auto mask = object.Get("mask"); !mask.IsUndefined()) {
    const auto bytes = read_bytes(mask, "mask");
    if (!bytes) return {};
    span.mask.assign(bytes->begin(), bytes->end());
  }
  if (const auto clock = object.Get("clock"); clock.IsObject()) {
    const auto hertz = read_uint(clock.As<Napi::Object>().Get("hertz"), "hertz");
    if (!hertz) return {};
    const auto bits = read_uint(clock.As<Napi::Object>().Get("bits"), "bits", 64);
    if (!bits) return {};
    span.clock_hertz = *hertz;
    span.clock_bits = static_cast<uint32_t>(*bits);
  }
  if (const auto ecam = object.Get("ecam"); ecam.IsObject()) {
    const auto address = read_uint(ecam.As<Napi::Object>().Get("address"), "address");
    if (!address) return {};
    const auto buses = read_uint(ecam.As<Napi::Object>().Get("buses"), "buses", 256);
    if (!buses) return {};
    span.ecam_address = *address;
    span.ecam_buses = static_cast<uint32_t>(*buses);
  }
  if (const auto indexed = object.Get("indexed"); indexed.IsObject()) {
    const auto table = read_uint(indexed.As<Napi::Object>().Get("tableOffset"), "tableOffset", UINT32_MAX);
    if (!table) return {};
    const auto entries = read_uint(indexed.As<Napi::Object>().Get("entries"), "entries", 256);
    if (!entries) return {};
    span.table_offset = static_cast<uint32_t>(*table);
    span.table_entries = static_cast<uint32_t>(*entries);
  }
  span.offset = static_cast<uint32_t>(*offset);
  span.length = static_cast<uint32_t>(*length);
  span.read = *read;
  span.write = *write;
  return span;
}

std::optional<std::vector<RegisterSpan>> read_spans(Napi::Value value) {
  if (!value.IsArray()) {
    Napi::TypeError::New(value.Env(), "spans must be an array").ThrowAsJavaScriptException();
    return {};
  }
  const auto array = value.As<Napi::Array>();
  std::vector<RegisterSpan> spans;
  for (uint32_t index = 0; index < array.Length(); ++index) {
    auto span = read_span(array.Get(index));
    if (!span) return {};
    spans.push_back(std::move(*span));
  }
  return spans;
}

// Windows fail for what their caller asked for, never for the system's state.
void throw_range(Napi::Env env, const Failure& failure) {
  const char* reason = failure.error == EEXIST ? "overlaps another window" : "spans or address are out of range";
  Napi::RangeError::New(env, std::string(failure.operation) + ": " + reason).ThrowAsJavaScriptException();
}

}  // namespace

void WindowBinding::define(Napi::Env env) {
  using Self = WindowBinding;
  auto constructor =
      DefineClass(env, "Window",
                  {InstanceMethod<&Self::move>("move"), InstanceMethod<&Self::set_spans>("setSpans"),
                   InstanceMethod<&Self::clock_ticks>("clockTicks"),
                   InstanceMethod<&Self::set_clock_ticks>("setClockTicks"), InstanceMethod<&Self::close>("close")});
  addon_data(env).window = Napi::Persistent(constructor);
}

Napi::Value WindowBinding::make(const Napi::CallbackInfo& info, std::shared_ptr<VmHost> host) {
  const auto env = info.Env();
  const auto space = read_string(info[0], "space");
  if (!space) return env.Undefined();
  if (*space != "pio" && *space != "mmio") {
    Napi::RangeError::New(env, "space must be pio or mmio").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  const auto address = read_uint(info[1], "address");
  if (!address) return env.Undefined();
  const auto bytes = read_bytes(info[2], "bytes");
  if (!bytes) return env.Undefined();
  auto spans = read_spans(info[3]);
  if (!spans) return env.Undefined();
  const auto id = read_uint(info[4], "windowId", UINT32_MAX);
  if (!id) return env.Undefined();
  auto window = Window::create(static_cast<uint32_t>(*id), *bytes, std::move(*spans));
  if (!window) return throw_range(env, window.failure()), env.Undefined();

  auto object = addon_data(env).window.New({});
  if (env.IsExceptionPending()) return env.Undefined();
  auto* binding = Unwrap(object);
  binding->host_ = std::move(host);
  binding->port_io_ = *space == "pio";
  if (const auto added = binding->space().add(*address, window.value()); !added) {
    return throw_range(env, added.failure()), env.Undefined();
  }
  binding->window_ = std::move(window).value();
  binding->host_->keep_bytes(binding->window_, Napi::Persistent(info[2].As<Napi::Object>()));
  return object;
}

bool WindowBinding::is_open(Napi::Env env) const {
  if (!window_) throw_closed(env, "Window");
  return window_ != nullptr;
}

void WindowBinding::move(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  const auto address = read_uint(info[0], "address");
  if (!address) return;
  if (const auto moved = space().move(*window_, *address); !moved) throw_range(info.Env(), moved.failure());
}

void WindowBinding::set_spans(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  auto spans = read_spans(info[0]);
  if (!spans) return;
  if (const auto set = window_->set_spans(std::move(*spans)); !set) throw_range(info.Env(), set.failure());
}

Napi::Value WindowBinding::clock_ticks(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  if (!is_open(env)) return env.Undefined();
  for (const auto& span : *window_->spans()) {
    if (span.read == RegisterSpan::Read::kClock) {
      return Napi::BigInt::New(env, window_->clock().ticks(span.clock_hertz));
    }
  }
  return Napi::BigInt::New(env, uint64_t{0});
}

void WindowBinding::set_clock_ticks(const Napi::CallbackInfo& info) {
  if (!is_open(info.Env())) return;
  bool lossless = false;
  if (!info[0].IsBigInt()) {
    Napi::TypeError::New(info.Env(), "ticks must be a bigint").ThrowAsJavaScriptException();
    return;
  }
  window_->clock().set(info[0].As<Napi::BigInt>().Uint64Value(&lossless));
}

void WindowBinding::close(const Napi::CallbackInfo&) {
  if (!window_) return;
  space().remove(*window_);
  window_.reset();
}

}  // namespace tsvmm
