package hsmgate;

import java.lang.annotation.Annotation;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/** The typed classes of the SDKs for requests and answers, by reflection. */
public final class Models {
    private Models() {}

    /** Calls the setter (`setKeyId`), or the method of a builder (`keyId`), of each parameter. */
    public static void set(Object target, Map<String, Object> parameters, boolean builder) throws Exception {
        for (Map.Entry<String, Object> parameter : parameters.entrySet()) {
            Method setter = setter(target.getClass(), parameter.getKey(), builder);
            setter.setAccessible(true);
            setter.invoke(target, converted(parameter.getValue(), setter.getGenericParameterTypes()[0], builder));
        }
    }

    private static Method setter(Class<?> type, String name, boolean builder) throws NoSuchMethodException {
        // The old SDK calls a parameter that is a list `setTags`, where the API's name is `Tag`.
        for (String wanted : List.of(name, name + "s")) {
            String method = builder ? wanted : "set" + wanted;
            for (Method candidate : type.getMethods()) {
                if (candidate.getName().equalsIgnoreCase(method) && candidate.getParameterCount() == 1) {
                    return candidate;
                }
            }
        }
        throw new NoSuchMethodException(type.getSimpleName() + " knows no " + name);
    }

    private static Object converted(Object value, Type wanted, boolean builder) throws Exception {
        if (wanted instanceof ParameterizedType list && value instanceof List<?> items) {
            Type element = list.getActualTypeArguments()[0];
            List<Object> typed = new ArrayList<>();
            for (Object item : items) {
                typed.add(converted(item, element, builder));
            }
            return typed;
        }
        if (wanted instanceof ParameterizedType list && list.getRawType() == List.class && value instanceof String) {
            return List.of(value);
        }
        if (wanted == Integer.class && value instanceof String text) {
            return Integer.valueOf(text);
        }
        if (wanted == Long.class && value instanceof String text) {
            return Long.valueOf(text);
        }
        if (wanted == String.class) {
            return value instanceof Map<?, ?> || value instanceof List<?> ? Json.text(value) : String.valueOf(value);
        }
        if (wanted == Long.class && value instanceof Number number) {
            return number.longValue();
        }
        if (wanted == Boolean.class && value instanceof String text) {
            return Boolean.valueOf(text);
        }
        if (wanted instanceof Class<?> model && value instanceof Map<?, ?> members && !model.isInterface()) {
            @SuppressWarnings("unchecked")
            Map<String, Object> fields = (Map<String, Object>) members;
            if (builder) {
                Object made = model.getMethod("builder").invoke(null);
                set(made, fields, true);
                return invoke(made, "build");
            }
            Object made = model.getConstructor().newInstance();
            set(made, fields, false);
            return made;
        }
        return value;
    }

    /** Calls a method without parameters, of a class that need not be public. */
    public static Object invoke(Object target, String name) throws Exception {
        Method method = target.getClass().getMethod(name);
        method.setAccessible(true);
        return method.invoke(target);
    }

    /** What the typed answer holds. */
    public static Leaves leaves(Object answer) throws Exception {
        Leaves leaves = new Leaves();
        collect("", answer, leaves, new TreeSet<>(), "");
        return leaves;
    }

    /** The paths of the fields of a typed answer that hold something. */
    public static Set<String> filled(Object answer) throws Exception {
        Set<String> paths = new TreeSet<>();
        collect("", answer, new Leaves(), paths, "");
        return paths;
    }

    private static void collect(String name, Object value, Leaves leaves, Set<String> paths, String path)
            throws Exception {
        if (value instanceof List<?> list) {
            for (Object item : list) {
                collect(name, item, leaves, paths, path);
            }
        } else if (value != null && isModel(value.getClass())) {
            for (Field field : fields(value.getClass())) {
                String inner = name(field);
                collect(inner, field.get(value), leaves, paths, path.isEmpty() ? inner : path + "." + inner);
            }
        } else if (value != null && !String.valueOf(value).isEmpty()) {
            leaves.add(name, value);
            paths.add(path);
        }
    }

    /** The paths of all fields that a class of answers has, those of the classes in it too. */
    public static Set<String> paths(Class<?> type) {
        Set<String> paths = new TreeSet<>();
        describe(type, "", paths);
        return paths;
    }

    private static void describe(Type type, String path, Set<String> paths) {
        if (type instanceof ParameterizedType generic && List.class.isAssignableFrom((Class<?>) generic.getRawType())) {
            describe(generic.getActualTypeArguments()[0], path, paths);
        } else if (type instanceof Class<?> model && isModel(model)) {
            for (Field field : fields(model)) {
                String inner = name(field);
                describe(field.getGenericType(), path.isEmpty() ? inner : path + "." + inner, paths);
            }
        } else {
            paths.add(path);
        }
    }

    private static boolean isModel(Class<?> type) {
        return type.getName().startsWith("com.aliyun") && !type.isEnum();
    }

    private static List<Field> fields(Class<?> model) {
        List<Field> fields = new ArrayList<>();
        for (Field field : model.getDeclaredFields()) {
            if (!Modifier.isStatic(field.getModifiers()) && !field.isSynthetic()) {
                field.setAccessible(true);
                fields.add(field);
            }
        }
        return fields;
    }

    /** The API's name of a field: from its annotation, or its own with a capital in front. */
    private static String name(Field field) {
        for (Annotation annotation : field.getAnnotations()) {
            if (annotation.annotationType().getSimpleName().equals("NameInMap")) {
                try {
                    return String.valueOf(annotation.annotationType().getMethod("value").invoke(annotation));
                } catch (ReflectiveOperationException impossible) {
                    throw new IllegalStateException(impossible);
                }
            }
        }
        String name = field.getName();
        return name.substring(0, 1).toUpperCase(Locale.ROOT) + name.substring(1);
    }
}
