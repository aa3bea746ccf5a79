/** Types of what preact.js exports, as far as the tab uses it. Written for this repository. */

export type Key = string | number;
export interface Ref<T> { current: T; }
export interface VNode<P = any> { type: ComponentType<P> | string; props: P; key: Key | null | undefined; }
export type ComponentChild = VNode | string | number | bigint | boolean | object | null | undefined;
export type ComponentChildren = ComponentChild | ComponentChild[];
export type FunctionComponent<P = {}> = (props: P & { children?: ComponentChildren }) => ComponentChildren;
export type ComponentType<P = {}> = FunctionComponent<P> | (new (props: P) => Component<P, any>);

export abstract class Component<P = {}, S = {}> {
  constructor(props: P);
  props: Readonly<P & { children?: ComponentChildren }>;
  state: Readonly<S>;
  setState(change: Partial<S> | ((state: S, props: P) => Partial<S> | null), done?: () => void): void;
  forceUpdate(done?: () => void): void;
  abstract render(props: P & { children?: ComponentChildren }, state: S): ComponentChildren;
  componentDidMount?(): void;
  componentDidCatch?(error: any): void;
  componentWillUnmount?(): void;
}
export const Fragment: FunctionComponent<{}>;

export function h<P>(
  type: ComponentType<P>,
  props: (P & { key?: Key; ref?: Ref<any> | ((instance: any) => void) }) | null,
  ...children: ComponentChildren[]
): VNode<P>;
export function h(type: string, props: Record<string, any> | null, ...children: ComponentChildren[]): VNode;
export function render(tree: ComponentChildren, parent: Element | DocumentFragment): void;
export function createRef<T>(): Ref<T | null>;

export interface Context<T> {
  Provider: FunctionComponent<{ value: T }>;
  Consumer: FunctionComponent<{ children: (value: T) => ComponentChildren }>;
}
export function createContext<T>(value: T): Context<T>;

/** Markup without a build step: html`<div class=${c}>${children}</div>`. */
export function html(strings: TemplateStringsArray, ...values: any[]): any;
export const htm: {
  bind<R>(create: (type: any, props: Record<string, any> | null, ...children: any[]) => R):
    (strings: TemplateStringsArray, ...values: any[]) => R | R[];
};

export type Dependencies = ReadonlyArray<unknown>;
type Effect = () => void | (() => void);
export function useState<S>(initial: S | (() => S)): [S, (next: S | ((previous: S) => S)) => void];
export function useReducer<S, A>(reducer: (state: S, action: A) => S, initial: S): [S, (action: A) => void];
export function useRef<T>(initial: T): Ref<T>;
export function useEffect(effect: Effect, dependencies?: Dependencies): void;
export function useLayoutEffect(effect: Effect, dependencies?: Dependencies): void;
export function useMemo<T>(factory: () => T, dependencies?: Dependencies): T;
export function useCallback<T extends Function>(callback: T, dependencies: Dependencies): T;
export function useContext<T>(context: Context<T>): T;
export function useImperativeHandle<T>(ref: Ref<T | null>, create: () => T, dependencies?: Dependencies): void;
export function useErrorBoundary(callback?: (error: any) => void): [any, () => void];
export function useDebugValue<T>(value: T, format?: (value: T) => unknown): void;
export function useId(): string;
