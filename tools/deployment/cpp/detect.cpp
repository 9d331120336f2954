// Run an exported detector on an image: detect MODEL IMAGE.ppm [--custom-ops LIBRARY] [--score-thr SCORE]
//
// MODEL was written by `mobileode export --with-nms`. Prints a line for each box: the label, a tab, then score, x0, y0,
// x1 and y1 in pixels of the image. The image is a binary PPM, so that no library for images is needed; a robot has its
// camera's pixels in memory. Status 2, and one line that says why, where something given cannot be used.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

struct Image {
  int height = 0, width = 0;
  std::vector<uint8_t> pixels;  // (height, width, 3), RGB
  Image(int h, int w) : height(h), width(w), pixels(size_t(h) * w * 3) {}
};

Image read_ppm(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  int width = 0, height = 0, most = 0;
  file >> kind >> width >> height >> most;
  if (!file || kind != "P6" || most != 255 || width < 1 || height < 1 || int64_t(width) * height > (1 << 28))
    throw std::runtime_error(path + " is no binary PPM of 8 bits (P6, without comments)");
  file.get();
  Image image(height, width);
  if (!file.read(reinterpret_cast<char *>(image.pixels.data()), image.pixels.size()))
    throw std::runtime_error(path + " is cut short");
  return image;
}

// Bilinear without antialiasing, into the upper left of `out`, of which (height, width) are filled.
void resize(const Image &in, Image &out, int height, int width) {
  const auto place = [](int i, int from, int to) { return std::clamp((i + 0.5) * from / to - 0.5, 0.0, from - 1.0); };
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const double v = place(y, in.height, height), u = place(x, in.width, width);
      const int top = int(v), bottom = std::min(top + 1, in.height - 1);
      const int left = int(u), right = std::min(left + 1, in.width - 1);
      for (int c = 0; c < 3; ++c) {
        const auto row = [&](int y_in) {
          const uint8_t *pixels = in.pixels.data() + size_t(y_in) * in.width * 3 + c;
          return pixels[left * 3] * (1 - (u - left)) + pixels[right * 3] * (u - left);
        };
        const double mixed = row(top) * (1 - (v - top)) + row(bottom) * (v - top);
        out.pixels[(size_t(y) * out.width + x) * 3 + c] = uint8_t(std::nearbyint(mixed));
      }
    }
}

// The strings of a JSON list of strings; of escapes, those of quotes and backslashes are undone.
std::vector<std::string> strings(const std::string &json) {
  std::vector<std::string> found;
  bool inside = false;
  for (size_t i = 0; i + 1 < json.size(); ++i) {
    if (inside && json[i] == '\\' && (json[i + 1] == '"' || json[i + 1] == '\\')) {
      found.back() += json[++i];
    } else if (json[i] == '"') {
      inside = !inside;
      if (inside) found.emplace_back();
    } else if (inside) {
      found.back() += json[i];
    }
  }
  return found;
}

int run(int count, char **words) {
  std::vector<std::string> given;
  std::string library;
  float threshold = 0.3f;
  char nothing[] = "", *rest = nothing;  // what follows the number
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--custom-ops" && i + 1 < count) library = words[++i];
    else if (word == "--score-thr" && i + 1 < count) threshold = std::strtof(words[++i], &rest);
    else given.push_back(word);
  }
  if (given.size() != 2 || *rest || !(threshold >= 0 && threshold <= 1))
    throw std::runtime_error("usage: detect MODEL IMAGE.ppm [--custom-ops LIBRARY] [--score-thr FROM_0_TO_1]");

  Ort::Env env(ORT_LOGGING_LEVEL_ERROR, "detect");
  Ort::SessionOptions options;
  if (!library.empty()) options.RegisterCustomOpsLibrary(library.c_str());
  Ort::Session session(env, given[0].c_str(), options);
  Ort::AllocatorWithDefaultOptions allocator;
  const Ort::ModelMetadata metadata = session.GetModelMetadata();
  const auto value = [&](const char *key) {
    const auto text = metadata.LookupCustomMetadataMapAllocated(key, allocator);
    return std::string(text ? text.get() : "");
  };
  const std::string steps = value("prepare");
  int height = 0, width = 0;
  double colour[3] = {0, 0, 0};
  const int found_values = std::sscanf(steps.c_str(), "[{\"letterbox\": [%d, %d, %lf, %lf, %lf]}]", &height, &width,
                                       &colour[0], &colour[1], &colour[2]);
  const bool padded = found_values == 2 || found_values == 5;
  if (value("task") != "detection" || session.GetOutputCount() != 3 || !value("tiles").empty() ||
      (!padded && std::sscanf(steps.c_str(), "[{\"resize\": [%d, %d]}]", &height, &width) != 2))
    throw std::runtime_error(given[0] + " is no detector of whole images of one size, resized bilinearly, that was "
                             "exported --with-nms");
  const std::vector<std::string> classes = strings(value("classes"));

  const Image image = read_ppm(given[1]);
  const double scale = std::min(double(height) / image.height, double(width) / image.width);
  const int used_height = padded ? std::max(1, int(image.height * scale + 0.5)) : height;
  const int used_width = padded ? std::max(1, int(image.width * scale + 0.5)) : width;
  Image prepared(height, width);
  for (size_t i = 0; i < prepared.pixels.size(); ++i) prepared.pixels[i] = uint8_t(colour[i % 3]);
  resize(image, prepared, used_height, used_width);

  const int64_t sizes[] = {1, height, width, 3};
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  std::vector<uint8_t> &pixels = prepared.pixels;
  const Ort::Value input = Ort::Value::CreateTensor<uint8_t>(memory, pixels.data(), pixels.size(), sizes, 4);
  const char *inputs[] = {"image"}, *outputs[] = {"boxes", "scores", "labels"};
  const auto found = session.Run(Ort::RunOptions{}, inputs, &input, 1, outputs, 3);
  const float *boxes = found[0].GetTensorData<float>(), *scores = found[1].GetTensorData<float>();
  const int64_t *labels = found[2].GetTensorData<int64_t>();
  const size_t most = found[1].GetTensorTypeAndShapeInfo().GetElementCount();
  for (size_t i = 0; i < most; ++i) {
    if (labels[i] < 0 || scores[i] < threshold) continue;
    std::printf("%s\t%.4f", classes.at(labels[i]).c_str(), scores[i]);
    for (int side = 0; side < 4; ++side) {
      const double inside = side % 2 ? used_height : used_width, outside = side % 2 ? image.height : image.width;
      std::printf(" %.2f", std::clamp(boxes[4 * i + side] / inside, 0.0, 1.0) * outside);
    }
    std::printf("\n");
  }
  return 0;
}

int main(int count, char **words) {
  try {
    return run(count, words);
  } catch (const std::exception &error) {
    std::cerr << "error: " << error.what() << "\n";
    return 2;
  }
}
