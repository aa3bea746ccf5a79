import assert from 'node:assert/strict';
import test from 'node:test';

import { basisOf, describeHistory, historyPath, placeOf, scaleOf, timesBest } from '../../frontend_static/view/run/compass.js';

const calibration = {
  tasks: 17,
  records: 9,
  about: 2.5,
  cosines: [0, 0.05, 0.22, 0.78],
  factors: [1, 0.3333, 0.1, 0.01],
  first_steps: 20,
  path_steps: 10,
  paths: [0.038, 0.089, 0.68],
  path_factors: [1, 3, 100],
  gain_records: 10,
  gain_ratios: [0.68, 0.84],
  gain_factors: [3, 1],
};
const scale = scaleOf(calibration);
/** @param {number[]} steps @param {(number | null)[]} factors */
const reading = (steps, factors) => ({ text: '', factor: null, cosine: null, steps, factors });

test('the scale reaches from the lowest to the highest factor that was calibrated', () => {
  assert.deepEqual(scale, { low: 0.01, high: 100, about: [0.4, 2.5], marks: [0.1, 0.3333, 1, 3] });
});

test('what a reading goes by is that of its side', () => {
  const [low, right, high, none] = [0.1, 1, 10, null].map((factor) => basisOf({ factor }, scale));
  assert.match(low, /steps could be longer/);
  assert.doesNotMatch(low, /shorter/);
  assert.match(high, /steps should be shorter/);
  assert.doesNotMatch(high, /longer/);
  assert.equal(right, none);
  assert.match(right, /longer.*shorter.*the training loss only/);
});

test('places are logarithmic and stay on the scale', () => {
  assert.deepEqual(
    [0.001, 0.01, 0.1, 1, 10, 100, 1000].map((factor) => Number(placeOf(factor, scale).toFixed(9))),
    [0, 0, 0.25, 0.5, 0.75, 1, 1],
  );
});

test('the history is broken where nothing can be told, and a lone point is a dot', () => {
  const path = historyPath(reading([0, 25, 50, 75, 100], [1, 0.01, null, 100, null]), scale, 100, 20);
  assert.equal(path, 'M0.0 10.0h0L25.0 20.0M75.0 0.0h0');
});

test('a history of one record lies in the middle, one of none is empty', () => {
  assert.equal(historyPath(reading([7], [1]), scale, 100, 20), 'M50.0 10.0h0');
  assert.equal(historyPath(reading([], []), scale, 100, 20), '');
});

test('a history in words starts where something can be told', () => {
  assert.equal(
    describeHistory(reading([1, 1000, 2000, 3000], [null, 0.03161, 1, null])),
    '1/32 of the best at step 1,000, the best at step 2,000',
  );
  assert.equal(describeHistory(reading([1, 2], [null, 3])), '3× the best at step 2');
  assert.equal(describeHistory(reading([1], [null])), '');
});

test('factors are said as one says them', () => {
  assert.deepEqual([0.01, 0.3333, 1, 3, 100].map(timesBest), [
    '1/100 of the best',
    '1/3 of the best',
    'the best',
    '3× the best',
    '100× the best',
  ]);
});
