// Runs the compiled cv::dnn_objdetect::InferBbox of opencv_contrib on blobs that another process writes to a shared file.
//
// Usage: infer_bbox_oracle BLOBS   (float32: delta_bbox 23x23x36, class_scores 4761x20, conf_scores 23x23x9, back to back)
// Commands on standard input, answers on standard output:
//   run THRESHOLD           -> number of detections, then one line each: xmin ymin xmax ymax class_idx label_name class_prob
//   twice FIRST SECOND      -> the same for one object that is filtered twice
//   time THRESHOLD COUNT    -> seconds for COUNT times construction and filter()
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>

#include <opencv2/core_detect.hpp>

static const size_t DELTAS = 23 * 23 * 36, CLASSES = 4761 * 20, CONFS = 23 * 23 * 9;

static void print(const cv::dnn_objdetect::InferBbox &boxes)
{
    std::printf("%zu\n", boxes.detections.size());
    for (const auto &d : boxes.detections)
        std::printf("%d %d %d %d %zu %s %a\n", d.xmin, d.ymin, d.xmax, d.ymax, d.class_idx, d.label_name.c_str(), d.class_prob);
    std::fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    const int file = open(argv[1], O_RDWR);
    const size_t bytes = (DELTAS + CLASSES + CONFS) * sizeof(float);
    void *memory = file < 0 ? MAP_FAILED : mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) {
        std::perror(argv[1]);
        return 1;
    }
    float *blobs = static_cast<float *>(memory);
    const int delta_shape[] = {23, 23, 36}, class_shape[] = {4761, 20}, conf_shape[] = {23, 23, 9};
    const cv::Mat delta(3, delta_shape, CV_32F, blobs);
    const cv::Mat classes(2, class_shape, CV_32F, blobs + DELTAS);
    const cv::Mat conf(3, conf_shape, CV_32F, blobs + DELTAS + CLASSES);

    char line[256];
    while (std::fgets(line, sizeof line, stdin)) {
        double first, second;
        long count;
        if (std::sscanf(line, "run %lf", &first) == 1) {
            cv::dnn_objdetect::InferBbox boxes(delta, classes, conf);
            boxes.filter(first);
            print(boxes);
        } else if (std::sscanf(line, "twice %lf %lf", &first, &second) == 2) {
            cv::dnn_objdetect::InferBbox boxes(delta, classes, conf);
            boxes.filter(first);
            boxes.filter(second);
            print(boxes);
        } else if (std::sscanf(line, "time %lf %ld", &first, &count) == 2) {
            const auto start = std::chrono::steady_clock::now();
            for (long i = 0; i < count; ++i) {
                cv::dnn_objdetect::InferBbox boxes(delta, classes, conf);
                boxes.filter(first);
            }
            const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
            std::printf("%.9e\n", spent.count());
            std::fflush(stdout);
        } else {
            std::fprintf(stderr, "unknown command: %s", line);
            return 2;
        }
    }
    return 0;
}
