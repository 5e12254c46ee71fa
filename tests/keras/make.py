"""Make the ONNX files beside this one: Keras networks as tf2onnx writes them.

Made with Python 3.11, tensorflow-cpu 2.15.1 and tf2onnx 1.16.1, which are not needed to run the tests:

    python tests/keras/make.py
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
import tf2onnx
from tensorflow.keras import layers

FOLDER = Path(__file__).parent
NETWORKS = {
    "keras_gru": [
        layers.Dense(4, activation="tanh"),
        layers.GRU(4, return_sequences=True),
        layers.BatchNormalization(),
        layers.Dense(3, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(2, activation="softmax"),
    ],
    "keras_lstm": [
        layers.LSTM(4, return_sequences=True),
        layers.LSTM(3),
        layers.Dense(2, activation="sigmoid"),
    ],
    "keras_rnn": [layers.SimpleRNN(4, return_sequences=True), layers.Dense(2)],
}


def main():
    rng = np.random.default_rng(0)
    for name, stack in NETWORKS.items():
        model = tf.keras.Sequential([tf.keras.Input((None, 3)), *stack])
        weights = []
        for variable, value in zip(model.weights, model.get_weights(), strict=True):
            positive = "variance" in variable.name
            weights.append(
                rng.uniform(0.5, 2, value.shape) if positive else 0.4 * rng.standard_normal(value.shape)
            )
        model.set_weights(weights)
        signature = (tf.TensorSpec((None, None, 3), tf.float32, name="x"),)
        tf2onnx.convert.from_keras(
            model, input_signature=signature, opset=13, output_path=str(FOLDER / f"{name}.onnx")
        )


if __name__ == "__main__":
    main()
