#include "napi/arguments.h"

#include <cmath>
#include <cstring>

namespace tsvmm {

std::optional<uint64_t> read_uint(Napi::Value value, const char* name, uint64_t maximum) {
  if (!value.IsNumber()) {
    Napi::TypeError::New(value.Env(), std::string(name) + " must be a number").ThrowAsJavaScriptException();
    return {};
  }
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0) || number > kMaximumSafeInteger || number != std::floor(number) ||
      static_cast<uint64_t>(number) > maximum) {
    Napi::RangeError::New(value.Env(), std::string(name) + " is out of range").ThrowAsJavaScriptException();
    return {};
  }
  return static_cast<uint64_t>(number);
}

std::optional<std::string> read_string(Napi::Value value, const char* name) {
  if (!value.IsString()) {
    Napi::TypeError::New(value.Env(), std::string(name) + " must be a string").ThrowAsJavaScriptException();
    return {};
  }
  return value.As<Napi::String>().Utf8Value();
}

std::optional<std::span<uint8_t>> read_bytes(Napi::Value value, const char* name) {
  if (!value.IsTypedArray()) {
    Napi::TypeError::New(value.Env(), std::string(name) + " must be a typed array").ThrowAsJavaScriptException();
    return {};
  }
  const auto array = value.As<Napi::TypedArray>();
  return std::span(static_cast<uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset(), array.ByteLength());
}

std::optional<uint64_t> read_uint_property(Napi::Object object, const char* name, std::optional<uint64_t> fallback) {
  const Napi::Value value = object.Get(name);
  if (value.IsUndefined() && fallback) return fallback;
  return read_uint(value, name);
}

bool read_flag_property(Napi::Object object, const char* name, bool fallback) {
  const Napi::Value value = object.Get(name);
  return value.IsUndefined() ? fallback : value.ToBoolean().Value();
}

Napi::Value copy_bytes(Napi::Env env, std::span<const uint8_t> bytes) {
  auto array = Napi::Uint8Array::New(env, bytes.size());
  if (!bytes.empty()) std::memcpy(array.Data(), bytes.data(), bytes.size());
  return array;
}

Napi::Value copy_words(Napi::Env env, std::span<const uint64_t> words) {
  auto array = Napi::BigUint64Array::New(env, words.size());
  if (!words.empty()) std::memcpy(array.Data(), words.data(), words.size_bytes());
  return array;
}

Napi::Error make_failure(Napi::Env env, const Failure& failure, const std::string& place) {
  const char* code = strerrorname_np(failure.error);
  const std::string name = code != nullptr ? code : "EUNKNOWN";
  auto error = Napi::Error::New(env, place + failure.operation + ": " + std::strerror(failure.error));
  error.Set("code", Napi::String::New(env, name));
  error.Set("errno", Napi::Number::New(env, -failure.error));
  error.Set("syscall", Napi::String::New(env, failure.operation));
  return error;
}

void throw_failure(Napi::Env env, const Failure& failure) { make_failure(env, failure).ThrowAsJavaScriptException(); }

}  // namespace tsvmm
